// Package simulation runs the real code of address management in a simulated world and looks at every step whether an address
// has two holders, is lost, or is reported wrongly. A seed comes in, and a list of steps that break an invariant goes out. The
// agents' address book, CNI server, queue and keeper of records, ledger, claim, lease and checkpoint are real, and so are the
// controller's reconcilers with their queues; the API server, the kernel, the container runtime, people and time are models.
package simulation
