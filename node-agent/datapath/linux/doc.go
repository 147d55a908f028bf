// Package linux makes a node's kernel look like a routeplan.Plan. It reads what is there, changes only what differs and
// only what bears our marks, and reports each failure with the object it is about; it decides nothing.
//
// The caller's loop is: Read, take the snapshot of pods, routeplan.Make, Apply; again when Watch's channel says so, and
// at least every ResyncEvery.
package linux
