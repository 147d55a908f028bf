package plan

import (
	"fmt"
	"net/netip"
)

// directWay leads to the blocks of a node in this node's own subnet: their packets are not wrapped.
func directWay(node netip.Addr, here Underlay) way {
	return way{source: RouteSourceDirect, hop: NextHop{Via: node, Device: here.Interface}}
}

// near returns a block's node as a next hop, if it is in this node's own subnet.
func (p *Planner) near(b Block) (netip.Addr, bool) {
	node, here := ofFamily(b.NodeAddresses, b.CIDR.Addr()), p.underlay(b.CIDR.Addr())
	ok := node.IsValid() && here.Address.IsValid() && here.Interface != "" && here.Subnet.Contains(node) && node != here.Address
	return node, ok
}

// noPlainWay says why packets that are not wrapped can't leave the node at all.
func (p *Planner) noPlainWay(b Block, pool Pool) (Problem, bool) {
	if p.underlay(b.CIDR.Addr()).Address.IsValid() {
		return Problem{}, false // a router may know the way
	}
	family := family(b.CIDR.Addr())
	return Problem{Reason: AddressMissing, Pool: pool.Name, Encapsulation: pool.Sending, Message: fmt.Sprintf(
		"Pool %s sends %s packets as they are, but node %s has no %s address: give it one, or use VXLAN.", pool.Name, family, p.in.Node, family)}, true
}
