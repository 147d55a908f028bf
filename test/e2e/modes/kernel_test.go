package modes_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

// checkKernel compares what `ip` and `bridge` show on every node and in every pod with reference/kernel-state.md.
func (c *cluster) checkKernel(t *testing.T, m mode) {
	for _, n := range c.Nodes {
		c.Eventually(t, lab.Settle, n.Name+" shows the mode", func() error { return c.nodeShows(t, n, m) })
	}
	for _, p := range c.pods() {
		if err := c.podShows(t, p, m); err != nil {
			t.Error(err)
		}
	}
}

func (c *cluster) pods() []*lab.Pod { return []*lab.Pod{c.a1, c.a2, c.b, c.c} }

// nodeShows is nil when a node's routes of ours and its tunnels are those of the mode, and no others.
func (c *cluster) nodeShows(t *testing.T, n *lab.Node, m mode) error {
	routes := []string{fmt.Sprintf("blackhole %s proto 202", c.blocks[n.Name])}
	var neighbours, fdb []string
	for _, p := range c.pods() {
		if p.Node == n {
			routes = append(routes, fmt.Sprintf("%s dev %s proto 202 scope link", p.V4(), c.hostEnds[p]))
		}
	}
	for _, other := range c.Nodes {
		block, tunnel := c.blocks[other.Name], c.tunnelAddress(other)
		if other == n {
			continue
		}
		switch w := m.between(n, other); {
		case w == plain && other.Subnet == n.Subnet:
			routes = append(routes, fmt.Sprintf("%s via %s dev eth0 proto 202", block, other.V4))
		case w == ipip:
			routes = append(routes, fmt.Sprintf("%s via %s dev tunl0 proto 202 onlink", block, other.V4))
		case w == vxlan:
			routes = append(routes, fmt.Sprintf("%s via %s dev vxlan.cw proto 202 onlink", block, tunnel))
			neighbours = append(neighbours, fmt.Sprintf("%s lladdr %s PERMANENT", tunnel, vtep(other)))
			fdb = append(fdb, fmt.Sprintf("%s dst %s self permanent", vtep(other), other.V4))
		}
	}
	if err := same("routes of "+n.Name, lines(c.run(t, n, "ip", "route", "show", "proto", "202")), withoutProtocol(routes)); err != nil {
		return err
	}
	for _, w := range []way{ipip, vxlan} {
		out, err := n.Run(t.Context(), "ip", "-d", "address", "show", "dev", w.device())
		if !m.uses(w) {
			if strings.Contains(out, ",UP") {
				return fmt.Errorf("%s still has %s: %s", n.Name, w.device(), out)
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := matches(out, c.tunnelPatterns(n, w)...); err != nil {
			return err
		}
	}
	if !m.uses(vxlan) {
		return nil
	}
	if err := same("neighbours of "+n.Name, lines(c.run(t, n, "ip", "-4", "neigh", "show", "dev", "vxlan.cw")), neighbours); err != nil {
		return err
	}
	return same("FDB of "+n.Name, lines(c.run(t, n, "bridge", "fdb", "show", "dev", "vxlan.cw")), fdb)
}

func (c *cluster) tunnelPatterns(n *lab.Node, w way) []string {
	address := fmt.Sprintf(`inet %s/32 scope global %s`, c.tunnelAddress(n), w.device())
	if w == ipip {
		return []string{`tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 `, `link/ipip 0\.0\.0\.0 `, address}
	}
	return []string{`vxlan\.cw: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 `, `link/ether ` + vtep(n) + ` `,
		fmt.Sprintf(`vxlan id 4096 local %s dev eth0 srcport 0 0 dstport 4789 nolearning `, n.V4), address}
}

// podShows is nil when a pod and its host end look as they must.
func (c *cluster) podShows(t *testing.T, p *lab.Pod, m mode) error {
	host := c.hostEnds[p]
	if err := matches(c.run(t, p, "ip", "address", "show", "dev", "eth0"),
		fmt.Sprintf(`eth0@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu %d `, m.mtu), fmt.Sprintf(`inet %s/32 scope global eth0`, p.V4())); err != nil {
		return err
	}
	if err := same("routes of "+p.Key(), lines(c.run(t, p, "ip", "route")),
		[]string{"default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"}); err != nil {
		return err
	}
	if err := matches(c.run(t, p, "ip", "-4", "neigh"), `(?m)^169\.254\.1\.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee `); err != nil {
		return err
	}
	if err := matches(c.run(t, p.Node, "ip", "address", "show", "dev", host),
		fmt.Sprintf(`%s@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu %d `, host, m.mtu), `link/ether ee:ee:ee:ee:ee:ee `,
		`inet6 fe80::ecee:eeff:feee:eeee/64`); err != nil {
		return err
	}
	return matches(c.run(t, p.Node, "sysctl", "net.ipv4.conf."+host+".proxy_arp"), `= 1\b`)
}

func matches(text string, patterns ...string) error {
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			return fmt.Errorf("no match of %s in:\n%s", p, text)
		}
	}
	return nil
}

// lines splits a listing into its lines, each with single spaces.
func lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			out = append(out, strings.Join(words, " "))
		}
	}
	return out
}

// withoutProtocol is how `ip route show proto 202` prints routes.
func withoutProtocol(routes []string) []string {
	var out []string
	for _, r := range routes {
		out = append(out, strings.Replace(r, " proto 202", "", 1))
	}
	return out
}

func same(what string, have, want []string) error {
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		return fmt.Errorf("%s: have\n%s\nwant\n%s", what, strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	return nil
}
