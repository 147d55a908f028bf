package plan

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// way is how the packets to one block leave this node: direct or through a tunnel.
type way struct {
	source RouteSource
	hop    NextHop
	// neighbour and fdb are what resolves the hop; the zero value where nothing is needed.
	neighbour Neighbour
	fdb       FDBEntry
}

func (w way) route(dst netip.Prefix) Route {
	return Route{Dst: dst, Source: w.source, Protocol: names.RouteProtocol, NextHop: w.hop}
}

// verdict is all that is decided for one destination.
type verdict struct {
	route Route
	ok    bool // there is a route
	// way is that of a block, whether its route is taken or a learned one goes before it.
	way      way
	problems []Problem
	refused  string // why what was learned is not used
}

// gateway is where pods send their IPv4 packets to.
var gateway = netip.PrefixFrom(names.GatewayV4, 32)

// decide says where packets to a destination go. The first that knows the destination wins: a pod of this node, a block of
// this node, a block of another node, a BGP peer off the link, a learned route.
func (p *Planner) decide(dst netip.Prefix) verdict {
	var v verdict
	if p.isLearned(dst) {
		if _, joined := p.joined(dst); joined {
			return v // its blocks have the route
		}
	}
	learned, isLearned := p.learn(dst, &v)
	if p.ownDestination(dst, &v) {
		return v
	}
	if b, ok := p.blocks[dst]; ok {
		p.reach(*b, learned, isLearned, &v)
		if _, peer := p.peers[dst]; peer {
			v.refused = p.peers[dst].refused(dst)
		}
		return v
	}
	if peer, ok := p.peers[dst]; ok {
		if peer.usable {
			v.route, v.ok = peer.route(dst), true
			return v
		}
		v.refused = peer.refused(dst)
	}
	if isLearned {
		v.route, v.ok = learned, true
	}
	return v
}

// ownDestination says whether a destination is this node's: a pod, the pods' gateway, or a block. The block's route drops
// what no pod has, so that it does not leave by the default route or, from a range that another node has lent, go back to that node.
// A block of one address has no such route while a pod with the address is being made or taken away: what is there stays.
func (p *Planner) ownDestination(dst netip.Prefix, v *verdict) bool {
	own := Route{Dst: dst, Source: RouteSourceEndpoint, Protocol: names.RouteProtocol}
	pod, isPod := p.pods[dst]
	switch {
	case p.in.NoWayToGateway && dst == gateway:
		// Proxy ARP answers only for addresses to which some other link leads (arp(7), proxy_arp), and a node may have lost
		// its default route.
		own.NextHop.Device = "lo"
	case isPod:
		own.NextHop.Device = pod
		if _, refused := p.podRefused(dst); refused {
			return false // reported with the pods
		}
	case p.isOwnBlock(dst):
		if problem, refused := p.infrastructure(dst, p.ownPool(dst), fmt.Sprintf("This node's block %s", dst), "gets no blackhole route"); refused {
			v.problems = append(v.problems, problem)
			return false
		}
		if p.held[dst] {
			return true
		}
		own.Source = RouteSourceBlock
	default:
		return false
	}
	v.route, v.ok = own, true
	if peer, ok := p.peers[dst]; ok {
		v.refused = peer.refused(dst)
	}
	return true
}

func (p *Planner) isOwnBlock(dst netip.Prefix) bool {
	for _, b := range p.own {
		if b.CIDR == dst {
			return true
		}
	}
	return false
}

func (p *Planner) ownPool(dst netip.Prefix) string {
	for _, b := range p.own {
		if b.CIDR == dst {
			return b.Pool
		}
	}
	return ""
}

// reach decides how another node's block is reached. The table is in README.md.
func (p *Planner) reach(b Block, learned Route, isLearned bool, v *verdict) {
	problem := func(reason Reason, format string, args ...any) {
		v.problems = append(v.problems, Problem{Reason: reason, Pool: b.Pool, Encapsulation: p.pools[b.Pool].Sending, Message: fmt.Sprintf(format, args...)})
	}
	for _, own := range p.own {
		if b.Lender != p.in.Node && inside(b.CIDR, own.CIDR) {
			problem(BlocksOverlap, "Block %s of node %s gets no route: it lies in this node's block %s.", b.CIDR, b.Node, own.CIDR)
			return
		}
	}
	if refusal, refused := p.infrastructure(b.CIDR, b.Pool, fmt.Sprintf("Block %s of node %s", b.CIDR, b.Node), "gets no route"); refused {
		v.problems = append(v.problems, refusal)
		return
	}
	pool, ok := p.pools[b.Pool]
	if !ok {
		problem(PoolMissing, "Block %s gets no route: its pool %s does not exist.", b.CIDR, b.Pool)
		return
	}
	e, known := encapsulations[pool.Sending]
	near, isNear := p.near(b)
	switch {
	case !known:
		problem(UnknownEncapsulation, "Pool %s has the unknown encapsulation %q: upgrade this node's agent.", pool.Name, pool.Sending)
	case e.direct && isNear:
		v.way, v.ok = directWay(near, p.underlay(near)), true
	case e.tunnel != nil:
		v.way, v.ok = p.through(e.tunnel, b, pool, v)
	case !isLearned:
		if lacking, none := p.noPlainWay(b, pool); none {
			v.problems = append(v.problems, lacking)
		}
	}
	v.route = v.way.route(b.CIDR)
	if known && e.tunnel == nil && isLearned {
		v.route, v.ok = learned, true // routers know best about packets that are not wrapped
	}
}

// through leads to a block by a tunnel.
func (p *Planner) through(t tunnel, b Block, pool Pool, v *verdict) (way, bool) {
	problem := func(reason Reason, format string, args ...any) (way, bool) {
		v.problems = append(v.problems, Problem{Reason: reason, Pool: pool.Name, Encapsulation: pool.Sending, Message: fmt.Sprintf(format, args...)})
		return way{}, false
	}
	if !t.carries(b.CIDR.Addr().Is4()) {
		return problem(FamilyNotCarried, "Pool %s is %s, which %s can't carry: use VXLAN.", pool.Name, family(b.CIDR.Addr()), pool.Sending)
	}
	link := p.links[t]
	if link == nil {
		return way{}, false // reported once, with the link
	}
	local := t.local(&p.in)
	remote := ofFamily(b.NodeAddresses, local)
	if !remote.IsValid() {
		return problem(AddressMissing, "The blocks of node %s get no route: it has no %s address to tunnel to; give its Node such an InternalIP.", b.Node, family(local))
	}
	if remote == local {
		return problem(AddressShared, "The blocks of node %s get no route: it has the same address %s as this node; give each an InternalIP of its own.", b.Node, remote)
	}
	return t.way(link, b, remote, p.nodes[b.Node])
}
