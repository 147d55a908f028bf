// Package bgp keeps a node's BGP sessions. It reads API objects from caches and the pods' addresses from the address book,
// plans with package bgpplan, tells the speaker's process by package speaker, hands what was learned to the datapath, and
// reports how the sessions are. It writes nothing to the API and changes nothing in the kernel.
package bgp
