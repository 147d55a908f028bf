package plan

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// Make plans a node.
func Make(in Input) Plan {
	p, _ := MakeIncremental(in)
	return p
}

// MakeIncremental plans a node, and returns what plans later changes of learned routes.
func MakeIncremental(in Input) (Plan, *Incremental) {
	m := newMaker(in)
	m.tunnels()
	m.endpoints()
	m.gateway()
	m.ownBlocks()
	m.learned()
	m.remoteBlocks()
	m.peerRoutes()
	m.sysctls()
	m.firewall()
	m.mtus()
	return m.finish(), newIncremental(m)
}

// maker holds what the steps share. A destination belongs to the first step that takes it.
type maker struct {
	in     Input
	pools  map[string]Pool
	blocks []Block // oldest first, then lowest
	plan   Plan

	vxlan, ipip *Link // nil if the node has none
	vteps       map[vtepKey]netip.Addr
	routes      map[netip.Prefix]Route
	hidden      []netip.Prefix // own blocks
	bgp         map[netip.Prefix]Route
	exact       map[netip.Prefix]bool  // others' blocks: what they are reached by is their pool's affair
	byBGP       map[netip.Prefix]bool  // those of them that a learned route may lead to
	fixed       map[netip.Prefix]Route // routes without what was learned
	tunnelled   []Pool
	resolved    map[netip.Addr]NextHop
	problems    map[Problem]bool
	refused     map[netip.Prefix]string
	neighbours  map[Neighbour]bool
	fdb         map[string]netip.Addr
}

func newMaker(in Input) *maker {
	if in.VXLAN.VNI == 0 {
		in.VXLAN.VNI = names.DefaultVXLANVNI
	}
	if in.VXLAN.Port == 0 {
		in.VXLAN.Port = names.DefaultVXLANPort
	}
	m := &maker{
		in: in, pools: map[string]Pool{}, vteps: map[vtepKey]netip.Addr{}, routes: map[netip.Prefix]Route{},
		bgp: make(map[netip.Prefix]Route, len(in.Learned)), exact: map[netip.Prefix]bool{}, byBGP: map[netip.Prefix]bool{},
		resolved: map[netip.Addr]NextHop{}, problems: map[Problem]bool{},
		refused: map[netip.Prefix]string{}, neighbours: map[Neighbour]bool{}, fdb: map[string]netip.Addr{},
	}
	for _, p := range in.Pools {
		if !p.CIDR.IsValid() || p.CIDR.Addr().Is4In6() {
			continue
		}
		p.CIDR = p.CIDR.Masked()
		if p.Sending == "" {
			p.Sending = p.Encapsulation
		}
		m.pools[p.Name] = p
	}
	for _, b := range in.Blocks {
		if b.CIDR.IsValid() && !b.CIDR.Addr().Is4In6() {
			b.CIDR = b.CIDR.Masked()
			m.blocks = append(m.blocks, b)
		}
	}
	slices.SortFunc(m.blocks, func(a, b Block) int {
		return cmp.Or(a.Created.Compare(b.Created), ComparePrefixes(a.CIDR, b.CIDR), cmp.Compare(a.Node, b.Node))
	})
	return m
}

func (m *maker) finish() Plan {
	p := &m.plan
	p.Routes = make([]Route, 0, len(m.routes))
	for _, r := range m.routes {
		p.Routes = append(p.Routes, r)
	}
	slices.SortFunc(p.Routes, func(a, b Route) int { return ComparePrefixes(a.Dst, b.Dst) })
	for n := range m.neighbours {
		p.Neighbours = append(p.Neighbours, n)
	}
	slices.SortFunc(p.Neighbours, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), a.Address.Compare(b.Address), cmp.Compare(a.MAC, b.MAC))
	})
	for mac, node := range m.fdb {
		p.FDB = append(p.FDB, FDBEntry{Device: names.VXLANDevice, MAC: mac, Node: node})
	}
	slices.SortFunc(p.FDB, func(a, b FDBEntry) int { return cmp.Compare(a.MAC, b.MAC) })
	for x := range m.problems {
		p.Problems = append(p.Problems, x)
	}
	slices.SortFunc(p.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Module, b.Module), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Encapsulation, b.Encapsulation))
	})
	for prefix, message := range m.refused {
		p.Refused = append(p.Refused, Refused{prefix, message})
	}
	slices.SortFunc(p.Refused, func(a, b Refused) int { return ComparePrefixes(a.Prefix, b.Prefix) })
	return *p
}

// underlay returns the node's place for the family of an address.
func (m *maker) underlay(a netip.Addr) Underlay {
	if a.Is4() {
		return m.in.V4
	}
	return m.in.V6
}

// ComparePrefixes is the order of Plan.Routes.
func ComparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// inside says whether a equals b or is a part of it.
func inside(a, b netip.Prefix) bool {
	return b.IsValid() && a.Bits() >= b.Bits() && b.Contains(a.Addr())
}

func ofFamily(addresses []netip.Addr, like netip.Addr) netip.Addr {
	for _, a := range addresses {
		if a = a.Unmap(); a.IsValid() && a.Is4() == like.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

func isVXLAN(e v1alpha1.Encapsulation) bool { return strings.HasPrefix(string(e), "VXLAN") }
func isIPIP(e v1alpha1.Encapsulation) bool  { return strings.HasPrefix(string(e), "IPIP") }
func isCrossSubnet(e v1alpha1.Encapsulation) bool {
	return strings.HasSuffix(string(e), "CrossSubnet")
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
