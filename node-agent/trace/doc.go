// Package trace is a node's part in path traces. PathObservations of this node come in; the packets that were seen, the routes that
// the kernel has for them, and the firewall rules that dropped them go out as their statuses. It sends from a pod only what an
// observation asks for, and only from a pod whose own link says that it is on this node. What it has in the kernel is bound to
// sockets, so nothing is left when the agent is killed. It draws no conclusions: package traces of the controller does.
package trace
