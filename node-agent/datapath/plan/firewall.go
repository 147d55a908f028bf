package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// The names in our table.
const (
	setPools, setNAT, setNodes = "pools", "nat_outgoing", "nodes"
)

// firewall plans the nftables table: masquerading, and the drop of what pretends to be a pod or a node.
func (m *maker) firewall() {
	if !m.in.Capabilities.NFTables {
		m.problem(Problem{Module: "nf_tables", Message: fmt.Sprintf(
			"The kernel of node %s has no nf_tables: natOutgoing does not work there, and forged packets are not dropped; load or install the module, and the program nft.", m.in.Node)})
		return
	}
	var pools, nat []netip.Prefix
	for _, p := range m.pools {
		if p.Doubtful && !m.hasBlocks(p.Name) {
			continue // Its range is full of things that only know the nodes' addresses: the API server, perhaps, and other nodes.
		}
		pools = append(pools, p.CIDR)
		if p.NATOutgoing {
			nat = append(nat, p.CIDR)
		}
	}
	nodes := m.nodes()
	f := &m.plan.Firewall
	for _, v4 := range []bool{true, false} {
		f.Sets = append(f.Sets, prefixSet(setPools, v4, pools), prefixSet(setNAT, v4, nat), addressSet(setNodes, v4, nodes))
	}
	slices.SortFunc(f.Sets, func(a, b Set) int { return cmp.Compare(a.Name, b.Name) })
	f.Chains = []Chain{
		{Name: "forged_node", Type: "filter", Hook: "input", Priority: "raw", Rules: m.forgedNode()},
		{Name: "forged_pod", Type: "filter", Hook: "prerouting", Priority: "raw", Rules: m.forgedPod()},
		{Name: "nat_outgoing", Type: "nat", Hook: "postrouting", Priority: "srcnat", Rules: []string{
			"ip saddr @nat_outgoing4 ip daddr != @pools4 masquerade",
			"ip6 saddr @nat_outgoing6 ip6 daddr != @pools6 masquerade",
		}},
	}
}

func (m *maker) hasBlocks(pool string) bool {
	return slices.ContainsFunc(m.in.Blocks, func(b Block) bool { return b.Pool == pool })
}

// forgedNode drops tunnel packets to this node that no node sent. The VNI is in bits 96 to 119 of the UDP datagram
// (RFC 7348 section 5); another VNI is somebody else's VXLAN.
func (m *maker) forgedNode() []string {
	var rules []string
	if m.ipip != nil {
		rules = append(rules, "meta l4proto 4 ip saddr != @nodes4 drop")
	}
	if m.vxlan != nil {
		for _, from := range []string{"ip saddr != @nodes4", "ip6 saddr != @nodes6"} {
			rules = append(rules, fmt.Sprintf("%s udp dport %d @th,96,24 %#x drop", from, m.vxlan.Port, m.vxlan.VNI))
		}
	}
	return rules
}

// forgedPod drops what comes from a pod's interface with an address that is not routed back to it. Strict rp_filter does
// that too, but for IPv4 only, and not where conf/all says 2. And it drops tunnel packets that a pod made itself for
// another node, where masquerading would lend them this node's address.
func (m *maker) forgedPod() []string {
	pod := fmt.Sprintf(`iifname "%s*"`, names.HostInterfacePrefix)
	rules := []string{
		// Never forwarded (RFC 4291 sections 2.5.2 and 2.5.6); neighbour discovery needs them.
		pod + " ip6 saddr ::/128 return",
		pod + " ip6 saddr fe80::/10 return",
		pod + " fib saddr . iif oif missing drop",
	}
	if m.ipip != nil {
		rules = append(rules, pod+" meta l4proto 4 ip daddr @nodes4 drop")
	}
	if m.vxlan != nil {
		for _, to := range []string{"ip daddr @nodes4", "ip6 daddr @nodes6"} {
			rules = append(rules, fmt.Sprintf("%s %s udp dport %d @th,96,24 %#x drop", pod, to, m.vxlan.Port, m.vxlan.VNI))
		}
	}
	return rules
}

func (m *maker) nodes() []netip.Addr {
	var all []netip.Addr
	add := func(list ...netip.Addr) {
		for _, a := range list {
			if a.IsValid() {
				all = append(all, a.Unmap().WithZone(""))
			}
		}
	}
	add(m.in.NodeAddresses...)
	add(m.in.V4.Address, m.in.V6.Address)
	for _, b := range m.blocks {
		add(b.NodeAddresses...)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

func addressSet(name string, v4 bool, all []netip.Addr) Set {
	s := Set{Name: name + "6", Type: "ipv6_addr"}
	if v4 {
		s.Name, s.Type = name+"4", "ipv4_addr"
	}
	for _, a := range all {
		if a.Is4() == v4 {
			s.Elements = append(s.Elements, a.String())
		}
	}
	return s
}

// prefixSet leaves out what lies in another: nftables takes no overlapping intervals.
func prefixSet(name string, v4 bool, all []netip.Prefix) Set {
	s := addressSet(name, v4, nil)
	s.Interval = true
	slices.SortFunc(all, ComparePrefixes)
	var last netip.Prefix
	for _, p := range all {
		if p.Addr().Is4() != v4 || inside(p, last) {
			continue
		}
		last = p
		s.Elements = append(s.Elements, p.String())
	}
	return s
}
