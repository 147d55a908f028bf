package hops

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Verdict says where packets were lost.
type Verdict struct {
	// Ours are losses with a cause on a node: a sentence each.
	Ours []string
	// Elsewhere are losses between nodes, or between a node and a pod, for which no node has a cause.
	Elsewhere []string
}

// Judge compares what nodes counted during a test, by the node's name. Only packets between two of the pods are followed,
// on these pods' nodes; pods maps their addresses to their nodes, and "" is an address outside of the nodes.
func Judge(nodes map[string]Counts, pods map[netip.Addr]string) Verdict {
	var v Verdict
	for _, name := range slices.Compact(slices.Sorted(maps.Values(pods))) {
		v.Ours = append(v.Ours, nodes[name].losses(name, pods)...)
	}
	for _, from := range slices.SortedFunc(maps.Keys(pods), netip.Addr.Compare) {
		for _, to := range slices.SortedFunc(maps.Keys(pods), netip.Addr.Compare) {
			there, here := nodes[pods[from]], nodes[pods[to]]
			sent, came := there.sum(there.Out, from, to), here.sum(here.In, from, to)
			if pods[from] != pods[to] && pods[from] != "" && pods[to] != "" && sent > came {
				v.Elsewhere = append(v.Elsewhere, fmt.Sprintf("%d of the %d packets from %s to %s that %s sent did not come to %s",
					sent-came, sent, from, to, pods[from], pods[to]))
			}
		}
	}
	return v
}

// losses are those that happened on one node.
func (c Counts) losses(name string, pods map[netip.Addr]string) []string {
	var out []string
	for _, from := range slices.SortedFunc(maps.Keys(pods), netip.Addr.Compare) {
		for _, to := range slices.SortedFunc(maps.Keys(pods), netip.Addr.Compare) {
			if came, went := c.sum(c.In, from, to), c.sum(c.Out, from, to); came > went {
				out = append(out, fmt.Sprintf("%s did not forward %d of %d packets from %s to %s", name, came-went, came, from, to))
			}
		}
	}
	if inner, outer := overTunnels(c.Out), total(c.OuterOut); inner > outer {
		out = append(out, fmt.Sprintf("%s put %d packets into its tunnels, and sent %d tunnel packets", name, inner, outer))
	}
	if inner, outer := overTunnels(c.In), total(c.OuterIn); outer > inner {
		out = append(out, fmt.Sprintf("%s got %d tunnel packets, and took %d packets out of them", name, outer, inner))
	}
	for _, cause := range slices.Sorted(maps.Keys(c.Causes)) {
		if n := c.Causes[cause]; n > 0 {
			out = append(out, fmt.Sprintf("%s counted %d in %s", name, n, cause))
		}
	}
	if n := c.LinkDrops - c.Backlog; n > 0 {
		out = append(out, fmt.Sprintf("%s has links that discarded %d packets", name, n))
	}
	return out
}

func (c Counts) sum(flows map[Flow]int64, from, to netip.Addr) (n int64) {
	for f, packets := range flows {
		if f.From == from && f.To == to {
			n += packets
		}
	}
	return n
}

func overTunnels(flows map[Flow]int64) (n int64) {
	for f, packets := range flows {
		if tunnel(f.Link) {
			n += packets
		}
	}
	return n
}

func total(flows map[Flow]int64) (n int64) {
	for _, packets := range flows {
		n += packets
	}
	return n
}

// String is one line for each finding.
func (v Verdict) String() string {
	return strings.Join(slices.Concat(v.Ours, v.Elsewhere), "\n")
}
