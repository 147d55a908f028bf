// Package records keeps the WorkloadEndpoints of one node: it writes and removes them behind the pods' backs, reads them
// at the agent's start, and repairs what differs between records, address book and links. A record is what the API has;
// what is true on the node is said by the book and the links, and a record that they do not confirm changes no kernel.
package records
