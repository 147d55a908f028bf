// Package report writes what a node says of itself to the API: facts in the NodeNetwork, wishes in the BlockClaim, and BGP
// sessions in the BGPNodeState. Each object has one Writer, which starts from what is stored, never writes what did not
// change, and slows down when the API server refuses. The package decides nothing: others say what is true, it says it on.
package report
