package modes_test

import (
	"context"
	"net/netip"
	"regexp"
	"testing"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/test/lab"
)

// background is for cleaning up, when the test's context has ended.
func (c *cluster) background() context.Context { return context.Background() }

// run runs a command that has to succeed, and returns what it printed. The lab itself, which is the router, is a place
// too.
func (c *cluster) run(t *testing.T, at lab.Place, argv ...string) string {
	t.Helper()
	out, err := at.Command(t.Context(), argv...).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var macPattern = regexp.MustCompile(`link/ether (\S+)`)

func (c *cluster) mac(t *testing.T, at lab.Place, link string) string {
	t.Helper()
	m := macPattern.FindStringSubmatch(c.run(t, at, "ip", "link", "show", link))
	if m == nil {
		t.Fatalf("%s has no MAC", link)
	}
	return m[1]
}

// between is the way from one node to another.
func (m mode) between(from, to *lab.Node) way {
	if from.Subnet == to.Subnet {
		return m.near
	}
	return m.far
}

// uses says whether any packet of a mode goes through a tunnel.
func (m mode) uses(w way) bool { return m.near == w || m.far == w }

// tunnelAddress is the first address of a node's block.
func (c *cluster) tunnelAddress(n *lab.Node) netip.Addr { return c.blocks[n.Name].Addr() }

func vtep(n *lab.Node) string { return names.VTEPMAC(n.Name).String() }
