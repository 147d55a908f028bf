package hops

import (
	"net/netip"
	"strings"
	"testing"
)

var (
	podA, podB = netip.MustParseAddr("10.211.1.1"), netip.MustParseAddr("10.211.2.1")
	where      = map[netip.Addr]string{podA: "node1", podB: "node2"}
	outerFrom  = netip.MustParseAddr("172.30.1.11")
	outerTo    = netip.MustParseAddr("172.30.1.12")
)

// passed is what node1 and node2 count when ten packets go from podA to podB by tunl0.
func passed() map[string]Counts {
	return map[string]Counts{
		"node1": {
			In: map[Flow]int64{{"cw1", podA, podB}: 10}, Out: map[Flow]int64{{"tunl0", podA, podB}: 10},
			OuterOut: map[Flow]int64{{"eth0", outerFrom, outerTo}: 10},
		},
		"node2": {
			OuterIn: map[Flow]int64{{"eth0", outerFrom, outerTo}: 10},
			In:      map[Flow]int64{{"tunl0", podA, podB}: 10}, Out: map[Flow]int64{{"cw2", podA, podB}: 10},
		},
	}
}

// Each loss is attributed to where it happened.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name            string
		change          func(n map[string]Counts)
		ours, elsewhere string
	}{
		{"nothing lost", func(map[string]Counts) {}, "", ""},
		{"no route or a filter on the first node", func(n map[string]Counts) {
			n["node1"].Out[Flow{"tunl0", podA, podB}] = 7
			n["node1"].OuterOut[Flow{"eth0", outerFrom, outerTo}] = 7
			n["node2"].OuterIn[Flow{"eth0", outerFrom, outerTo}] = 7
			n["node2"].In[Flow{"tunl0", podA, podB}] = 7
			n["node2"].Out[Flow{"cw2", podA, podB}] = 7
		}, "node1 did not forward 3 of 10 packets from 10.211.1.1 to 10.211.2.1", ""},
		{"reverse path filter on the second node", func(n map[string]Counts) { n["node2"].Out[Flow{"cw2", podA, podB}] = 8 },
			"node2 did not forward 2 of 10 packets", ""},
		{"no way for the tunnel packet", func(n map[string]Counts) {
			n["node1"].OuterOut[Flow{"eth0", outerFrom, outerTo}] = 9
			n["node2"].OuterIn[Flow{"eth0", outerFrom, outerTo}] = 9
			n["node2"].In[Flow{"tunl0", podA, podB}] = 9
			n["node2"].Out[Flow{"cw2", podA, podB}] = 9
		}, "node1 put 10 packets into its tunnels, and sent 9", "1 of the 10"},
		{"no tunnel device on the second node", func(n map[string]Counts) {
			delete(n["node2"].In, Flow{"tunl0", podA, podB})
			delete(n["node2"].Out, Flow{"cw2", podA, podB})
		}, "node2 got 10 tunnel packets, and took 0", "10 of the 10"},
		{"lost on the wire", func(n map[string]Counts) {
			n["node2"].OuterIn[Flow{"eth0", outerFrom, outerTo}] = 8
			n["node2"].In[Flow{"tunl0", podA, podB}] = 8
			n["node2"].Out[Flow{"cw2", podA, podB}] = 8
		}, "", "2 of the 10 packets from 10.211.1.1 to 10.211.2.1 that node1 sent did not come to node2"},
		{"a counter tells", func(n map[string]Counts) {
			c := n["node2"]
			c.Causes = map[string]int64{"TcpExt.IPReversePathFilter": 2}
			n["node2"] = c
		}, "node2 counted 2 in TcpExt.IPReversePathFilter", ""},
		{"a link discards", func(n map[string]Counts) {
			c := n["node1"]
			c.LinkDrops = 3
			n["node1"] = c
		}, "node1 has links that discarded 3 packets", ""},
		{"a CPU is too slow", func(n map[string]Counts) {
			c := n["node1"]
			c.LinkDrops, c.Backlog = 3, 3
			n["node1"] = c
		}, "", ""},
		{"a node of other pods", func(n map[string]Counts) { n["node3"] = Counts{Causes: map[string]int64{"Ip.OutNoRoutes": 5}} }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := passed()
			c.change(nodes)
			v := Judge(nodes, where)
			for _, part := range []struct {
				have []string
				want string
			}{{v.Ours, c.ours}, {v.Elsewhere, c.elsewhere}} {
				if have := strings.Join(part.have, "\n"); (part.want == "") != (have == "") || !strings.Contains(have, part.want) {
					t.Errorf("have %q, want %q", have, part.want)
				}
			}
		})
	}
}

func TestParse(t *testing.T) {
	const text = `== table
{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "causeway-lab", "handle": 1}},
{"set": {"family": "inet", "name": "unreachable", "elem": [{"elem": {"val": {"concat": ["eth0", "172.30.1.11", "10.211.2.1"]}, "counter": {"packets": 4, "bytes": 504}}}]}},
{"set": {"family": "inet", "name": "outer_in", "table": "causeway-lab"}}, {"set": {"family": "inet", "name": "outer_out", "table": "causeway-lab"}},
{"set": {"family": "inet", "name": "inner_in", "elem": [{"elem": {"val": {"concat": ["cw1", "10.211.1.1", "10.211.2.1"]}, "counter": {"packets": 6, "bytes": 504}}}]}},
{"set": {"family": "inet", "name": "inner_out", "elem": [{"elem": {"val": {"concat": ["eth0", "10.211.1.1", "10.211.2.1"]}, "counter": {"packets": 5, "bytes": 504}}}]}}]}
== protocols
Ip: Forwarding InHdrErrors OutNoRoutes
Ip: 1 2 3
Icmp: InMsgs OutTimeExcds
Icmp: 9 8
TcpExt: SyncookiesSent IPReversePathFilter
TcpExt: 0 7
== links
[{"ifname":"eth0","stats64":{"rx":{"errors":1,"dropped":2},"tx":{"errors":3,"dropped":4}}},
{"ifname":"vxlan.cw","stats64":{"rx":{"errors":0,"dropped":0},"tx":{"errors":0,"dropped":9}}}]
== backlog
00000010 0000000a 00000000
00000010 00000001 00000000
`
	c, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if c.In[Flow{"cw1", podA, podB}] != 6 || c.Out[Flow{"eth0", podA, podB}] != 5 || c.LinkDrops != 10 || c.Backlog != 11 {
		t.Errorf("%+v", c)
	}
	for name, want := range map[string]int64{
		"Ip.InHdrErrors": 2, "Ip.OutNoRoutes": 3, "Icmp.OutTimeExcds": 8, "TcpExt.IPReversePathFilter": 7, "ICMP destination unreachable sent": 4,
	} {
		if c.Causes[name] != want {
			t.Errorf("%s is %d, want %d", name, c.Causes[name], want)
		}
	}
	if d := c.Since(c); len(d.In)+len(d.Out)+len(d.Causes) != 0 || d.LinkDrops != 0 {
		t.Errorf("nothing happened, and yet %+v", d)
	}
	if _, err := Parse("== table\nError: No such file or directory\n"); err == nil {
		t.Error("a node without the table was read")
	}
}
