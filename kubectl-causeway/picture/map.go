// Package picture draws the cluster: subnets with their nodes, the ways between them, BGP sessions, and pools as heat maps. It
// takes objects, makes a value of what there is to see, and an SVG of that. It does no I/O.
package picture

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// Kinds are what Compute wants to see.
var Kinds = []objects.Kind{
	objects.IPPools, objects.IPBlocks, objects.WorkloadEndpoints, objects.NodeNetworks, objects.BGPNodeStates,
}

// Map is what there is to see.
type Map struct {
	Subnets  []Subnet  `json:"subnets"`
	Ways     []Way     `json:"ways"`
	Routers  []Router  `json:"routers,omitempty"`
	Sessions []Session `json:"sessions,omitempty"`
	// Pools are those of `kubectl causeway ipam show`.
	Pools []addresses.Pool `json:"pools"`
}

// Subnet is a part of the underlay, with its nodes.
type Subnet struct {
	CIDR  string `json:"cidr"`
	Nodes []Node `json:"nodes"`
}

// Node is one node. Number gives it its colour.
type Node struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Number  int    `json:"number"`
	Blocks  int    `json:"blocks"`
	Pods    int    `json:"pods"`
	Ready   bool   `json:"ready"`
}

// Way is how packets of some pools travel.
type Way struct {
	// Across says that it leads to another subnet; otherwise it stays inside one.
	Across bool     `json:"across"`
	Kind   string   `json:"kind"`
	Pools  []string `json:"pools"`
}

// The kinds of ways that are no encapsulation.
const (
	direct = "direct"
	routed = "routed by the network between the subnets"
)

// Router is a BGP peer that is no node.
type Router struct {
	Address string `json:"address"`
	AS      int64  `json:"asNumber"`
}

// Session is a BGP session of a node, with another node or a router. One between nodes is there once.
type Session struct {
	Node string `json:"node"`
	Peer string `json:"peer"` // a node's name, or a router's address
	Up   bool   `json:"up"`
}

// Compute makes the map.
func Compute(c *objects.Cluster) Map {
	m := Map{Ways: ways(c), Pools: addresses.Show(c)}
	m.Subnets = subnets(c, m.Pools)
	m.Routers, m.Sessions = sessions(c)
	return m
}

// subnets puts nodes where their first address is. Nodes are numbered by name.
func subnets(c *objects.Cluster, pools []addresses.Pool) []Subnet {
	blocks, pods := map[string]int{}, map[string]map[string]bool{}
	for _, p := range pools {
		for _, b := range p.Blocks {
			blocks[b.Node]++
			for _, h := range b.Holders {
				if pods[h.Node] == nil {
					pods[h.Node] = map[string]bool{}
				}
				pods[h.Node][h.Pod] = true
			}
		}
	}
	networks := slices.Clone(c.Networks.Items)
	slices.SortFunc(networks, func(a, b v1alpha1.NodeNetwork) int { return cmp.Compare(a.Name, b.Name) })
	by := map[string]*Subnet{}
	var out []*Subnet
	for i, n := range networks {
		cidr, address := "address not known yet", ""
		if len(n.Status.Addresses) > 0 {
			address = n.Status.Addresses[0].Address
			cidr = n.Status.Addresses[0].Subnet
			if p, err := netip.ParsePrefix(cidr); err == nil {
				cidr = p.Masked().String()
			}
		}
		if by[cidr] == nil {
			by[cidr] = &Subnet{CIDR: cidr}
			out = append(out, by[cidr])
		}
		by[cidr].Nodes = append(by[cidr].Nodes, Node{Name: n.Name, Address: address, Number: i, Blocks: blocks[n.Name], Pods: len(pods[n.Name]), Ready: ready(&n)})
	}
	slices.SortFunc(out, func(a, b *Subnet) int { return cmp.Compare(a.CIDR, b.CIDR) })
	list := []Subnet{}
	for _, s := range out {
		list = append(list, *s)
	}
	return list
}

func ready(n *v1alpha1.NodeNetwork) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady {
			return c.Status == "True"
		}
	}
	return false
}

// ways are how the pools' packets travel now, inside of subnets and across.
func ways(c *objects.Cluster) []Way {
	var out []Way
	add := func(w Way, pool string) {
		at := slices.IndexFunc(out, func(o Way) bool { return o.Across == w.Across && o.Kind == w.Kind })
		if at < 0 {
			at, out = len(out), append(out, w)
		}
		out[at].Pools = append(out[at].Pools, pool)
	}
	for _, p := range c.Pools.Items {
		e := cmp.Or(p.Status.Encapsulation, p.Spec.Encapsulation)
		tunnel, cross := strings.CutSuffix(string(e), "CrossSubnet")
		inside, across := tunnel, tunnel
		if cross || e == v1alpha1.EncapsulationNone {
			inside = direct
		}
		if e == v1alpha1.EncapsulationNone {
			across = routed
		}
		add(Way{Kind: inside}, p.Name)
		add(Way{Kind: across, Across: true}, p.Name)
	}
	slices.SortFunc(out, func(a, b Way) int {
		if a.Across != b.Across {
			return map[bool]int{false: -1, true: 1}[a.Across]
		}
		return cmp.Compare(a.Kind, b.Kind)
	})
	for i := range out {
		slices.Sort(out[i].Pools)
	}
	return out
}

// sessions are all that nodes describe. A session between nodes is down if either side says so.
func sessions(c *objects.Cluster) ([]Router, []Session) {
	owner := map[string]string{}
	for i := range c.Networks.Items {
		for _, a := range c.Networks.Items[i].Status.Addresses {
			owner[a.Address] = c.Networks.Items[i].Name
		}
	}
	routers, all := map[Router]bool{}, map[[2]string]bool{}
	for i := range c.States.Items {
		state := &c.States.Items[i]
		for _, s := range state.Status.Sessions {
			pair := [2]string{state.Name, s.Peer}
			if node := owner[s.Peer]; node != "" {
				pair = [2]string{min(state.Name, node), max(state.Name, node)}
			} else {
				routers[Router{s.Peer, s.ASNumber}] = true
			}
			up, known := all[pair]
			all[pair] = s.State == "Established" && (up || !known)
		}
	}
	var outRouters []Router
	for r := range routers {
		outRouters = append(outRouters, r)
	}
	slices.SortFunc(outRouters, func(a, b Router) int { return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.AS, b.AS)) })
	var out []Session
	for pair, up := range all {
		out = append(out, Session{pair[0], pair[1], up})
	}
	slices.SortFunc(out, func(a, b Session) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Peer, b.Peer)) })
	return outRouters, out
}
