package plan

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// The names in our table.
const (
	setPools, setNAT, setNodes = "pools", "nat_outgoing", "nodes"
)

// checkFilter reports a kernel that can't filter.
func (p *Planner) checkFilter() {
	if !p.in.Capabilities.NFTables {
		p.fixedProblem(Problem{Reason: ModuleMissing, Module: "nf_tables", Message: fmt.Sprintf(
			"The kernel of node %s has no nf_tables: natOutgoing does not work there, and forged packets are not dropped; load or install the module, and the program nft.", p.in.Node)})
	}
}

// checkPools finds the pools that touch the infrastructure.
func (p *Planner) checkPools() {
	for _, pool := range p.pools {
		problem, refused := p.infrastructure(pool.CIDR, pool.Name, fmt.Sprintf("Pool %s with %s", pool.Name, pool.CIDR), "is used for running pods only")
		if refused {
			p.conflicts[pool.Name] = true
			p.fixedProblem(problem)
		}
	}
}

// makeFirewall plans the nftables table: masquerading, and the drop of what pretends to be a pod or a node.
func (p *Planner) makeFirewall() Firewall {
	var pools, nat []netip.Prefix
	var except []string
	for _, name := range slices.Sorted(maps.Keys(p.pools)) {
		pool := p.pools[name]
		ranges := p.rangesOf(pool)
		pools = append(pools, ranges...)
		if pool.NATOutgoing {
			nat = append(nat, ranges...)
			except = append(except, exceptRule(pool, ranges)...)
		}
	}
	nodes := slices.SortedFunc(maps.Keys(p.members), netip.Addr.Compare)
	var f Firewall
	for _, v4 := range []bool{true, false} {
		f.Sets = append(f.Sets, prefixSet(setPools, v4, pools), prefixSet(setNAT, v4, nat), addressSet(setNodes, v4, nodes))
	}
	slices.SortFunc(f.Sets, func(a, b Set) int { return cmp.Compare(a.Name, b.Name) })
	g := p.guards()
	f.Chains = []Chain{
		{Name: "forged_node", Type: "filter", Hook: "input", Priority: "raw", Rules: g.input},
		{Name: "forged_pod", Type: "filter", Hook: "prerouting", Priority: "raw", Rules: g.pod},
	}
	if len(nat) > 0 { // with such a chain the kernel tracks every connection, which costs each packet something
		f.Chains = append(f.Chains, Chain{Name: "nat_outgoing", Type: "nat", Hook: "postrouting", Priority: "srcnat", Rules: append(except,
			"ip saddr @nat_outgoing4 ip daddr != @pools4 masquerade",
			"ip6 saddr @nat_outgoing6 ip6 daddr != @pools6 masquerade",
		)})
	}
	if len(g.output) > 0 {
		f.Chains = append(f.Chains, Chain{Name: "tunnel_source", Type: "filter", Hook: "output", Priority: "raw", Rules: g.output})
	}
	return f
}

// exceptRule returns the rule that leaves packets from a pool to its exceptions alone, or none. Only the first packet of a connection meets
// it, so a change of the rule changes no connection that exists.
func exceptRule(pool Pool, ranges []netip.Prefix) []string {
	v4 := pool.CIDR.Addr().Is4()
	from, to := prefixSet("", v4, slices.Clone(ranges)).Elements, prefixSet("", v4, slices.Clone(pool.NATExcept)).Elements
	if len(from) == 0 || len(to) == 0 {
		return nil
	}
	ip := "ip6"
	if v4 {
		ip = "ip"
	}
	return []string{fmt.Sprintf("%s saddr { %s } %s daddr { %s } return", ip, strings.Join(from, ", "), ip, strings.Join(to, ", "))}
}

// rangesOf returns what of a pool pods have. Of one that touches the infrastructure, that is this node's own blocks. One
// that the controller has doubts about, and that has no block, may be full of things that only know the nodes' addresses:
// the API server, perhaps, and other nodes.
func (p *Planner) rangesOf(pool Pool) []netip.Prefix {
	var out []netip.Prefix
	switch {
	case pool.Doubtful && p.blocksOf[pool.Name] == 0:
		return nil
	case !p.conflicts[pool.Name]:
		return []netip.Prefix{pool.CIDR}
	}
	for _, b := range p.own {
		if b.Pool == pool.Name && len(p.hits(b.CIDR)) == 0 {
			out = append(out, b.CIDR)
		}
	}
	return out
}

// guards are the rules that drop what pretends to be a pod or a node.
//
// What comes from a pod's interface must have an address that is routed back to it. Strict rp_filter does that too, but for
// IPv4 only, and not where conf/all says 2. A pod must not wrap packets for another node itself either: masquerading would
// lend them this node's address.
func (p *Planner) guards() guards {
	var g guards
	g.pod = append(g.pod, notPodInterfaces+" return") // so that other packets meet one rule
	for _, name := range p.in.LikePods {              // nft can match the beginning of a name only
		g.pod = append(g.pod, fmt.Sprintf(`iifname "%s" return`, name))
	}
	g.pod = append(g.pod,
		// Never forwarded (RFC 4291 sections 2.5.2 and 2.5.6); neighbour discovery needs them.
		"ip6 saddr ::/128 return",
		"ip6 saddr fe80::/10 return",
		"fib saddr . iif oif missing drop")
	for _, t := range tunnels() {
		l := p.links[t]
		if l == nil {
			continue
		}
		of := t.guards(&p.in, l)
		g.input, g.output, g.pod = append(g.input, of.input...), append(g.output, of.output...), append(g.pod, of.pod...)
	}
	return g
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
