// Package agent is the node's daemon: it watches the API, keeps the address book, runs the loop from plan to kernel, and
// reports in the NodeNetwork. Decisions are in addressbook, plan and bgpplan; the kernel is changed by kernel and endpoint.
package agent
