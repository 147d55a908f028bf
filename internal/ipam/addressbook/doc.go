// Package addressbook knows which address of the node's blocks belongs to which pod interface. Blocks, records and links
// come in, reservations and the node's demand for blocks go out. It does no I/O: who calls it writes the record and the kernel.
package addressbook
