package addresses_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
	agent "github.com/causeway-net/causeway/node-agent/addresses"
)

func bookBlock(cidr string, holders map[string]string) agent.BlockWindow {
	p := netip.MustParsePrefix(cidr)
	b := agent.BlockWindow{CIDR: p, Addresses: []agent.AddressWindow{{Address: p.Addr(), State: "kept"}}}
	for address, pod := range holders {
		b.Addresses = append(b.Addresses, agent.AddressWindow{Address: netip.MustParseAddr(address), State: "held", Pod: pod})
	}
	return b
}

func TestCheckBooks(t *testing.T) {
	v6 := bookBlock("fd00::/122", map[string]string{"fd00::1": "default/a"})
	for name, c := range map[string]struct {
		book agent.BookWindow
		want []string
	}{
		"agrees": {book: agent.BookWindow{Blocks: []agent.BlockWindow{bookBlock("10.0.0.0/26", map[string]string{"10.0.0.1": "default/a"}), v6}}},
		"a pod that no record shows": {
			book: agent.BookWindow{Blocks: []agent.BlockWindow{bookBlock("10.0.0.0/26", map[string]string{"10.0.0.1": "default/a", "10.0.0.9": "default/x"}), v6}},
			want: []string{"BookUnrecorded 10.0.0.9 On node node1, 10.0.0.9 belongs to pod default/x, and no record says so."},
		},
		"another pod": {
			book: agent.BookWindow{Blocks: []agent.BlockWindow{bookBlock("10.0.0.0/26", map[string]string{"10.0.0.1": "default/x"}), v6}},
			want: []string{"BookUnrecorded 10.0.0.1 On node node1, 10.0.0.1 belongs to pod default/x"},
		},
		"a record that the agent does not know": {
			book: agent.BookWindow{Blocks: []agent.BlockWindow{bookBlock("10.0.0.0/26", nil), v6}},
			want: []string{"BookMisses 10.0.0.1 A record gives 10.0.0.1 to pod default/a on node node1"},
		},
		"outside of its blocks": {
			book: agent.BookWindow{Blocks: []agent.BlockWindow{v6}, Outside: []agent.AddressWindow{{Address: netip.MustParseAddr("10.0.0.1"), Pod: "default/a"}}},
		},
		"a block of another node": {
			book: agent.BookWindow{Blocks: []agent.BlockWindow{bookBlock("10.0.0.0/26", map[string]string{"10.0.0.1": "default/a"}), v6, bookBlock("10.0.0.64/26", nil)}},
			want: []string{"BookBlock node1 10.0.0.64/26 The agent of node node1 gives out addresses of block 10.0.0.64/26"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := consistent()
			account := addresses.Check(cluster)
			account.CheckBooks(cluster, map[string]agent.BookWindow{"node1": c.book})
			var got []string
			for _, d := range account.Disagreements {
				got = append(got, d.Reason+" "+d.Subject+" "+d.Message)
			}
			ok := len(got) == len(c.want) && account.Books == 1
			for i := range min(len(got), len(c.want)) {
				ok = ok && strings.HasPrefix(got[i], c.want[i])
			}
			if !ok {
				t.Errorf("got\n%q\nwant\n%q", got, c.want)
			}
		})
	}
}
