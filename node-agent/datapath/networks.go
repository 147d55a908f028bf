package datapath

import (
	"slices"

	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/node-agent/cluster"
)

// networks are those that no route of ours may touch, with what they were made of.
type networks struct {
	nodes    *cluster.NodeNetworks
	services []infrastructure.Network
	links    []infrastructure.Network
	all      *infrastructure.Networks
}

// update brings the networks up to date. It reports whether they are others than before.
func (n *networks) update(l *Loop) bool {
	nodes, links := l.o.View.NodeNetworks(), l.observed.Foreign
	var services []infrastructure.Network
	if l.o.Infrastructure != nil {
		services = l.o.Infrastructure()
	}
	if nodes == n.nodes && slices.Equal(services, n.services) && slices.Equal(links, n.links) {
		return false
	}
	all := infrastructure.Of(slices.Concat(nodes.Infrastructure, services, links)...)
	*n = networks{nodes, services, links, &all}
	return true
}
