// Package cluster is the agent's view of the cluster. It connects to the API server, watches the kinds that routing and
// address management need, parses each object once, and tells its listeners what has changed of what they use. A
// checkpoint on the node's own disk lets an agent start with its last view while the API server is away. The package
// writes nothing to the API and decides nothing.
package cluster
