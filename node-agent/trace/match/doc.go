// Package match knows the packets of one probe: a probe comes in, and what every one of its packets looks like goes out, as tests
// of bytes. The kernel's packet filter, nftables and Decode use the same tests. It does no I/O.
package match
