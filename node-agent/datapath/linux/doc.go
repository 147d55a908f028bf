// Package linux makes a node's kernel look like a plan.Plan. It reads what is there, changes only what differs and
// only what bears our marks, and reports each failure with the object it is about; it decides nothing.
package linux
