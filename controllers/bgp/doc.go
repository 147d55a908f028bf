// Package bgp writes the statuses of BGPPeers, BGPConfigurations and BGPFilters: whether they are valid, and how the nodes'
// sessions are, from what the nodes report in their BGPNodeStates. It decides nothing about sessions: that is the agents' work.
package bgp
