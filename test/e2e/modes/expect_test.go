package modes_test

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/test/lab"
)

// point is where captures run: a link of a node.
type point struct {
	node *lab.Node
	link string
}

// expectation is what each point shows of one path, in order. What is not in it shows nothing.
type expectation map[point][]string

// echo is one ICMP echo packet without its link layer.
type echo struct {
	from, to netip.Addr
	reply    bool
	length   int // of the IP packet; it is what tells one path's packets from another's
}

func (e echo) at(ttl int) string {
	kind := 8
	if e.reply {
		kind = 0
	}
	return fmt.Sprintf("%s > %s ttl %d proto 1 length %d type %d code 0", e.from, e.to, ttl, e.length, kind)
}

func (x expectation) add(at point, format string, args ...any) {
	x[at] = append(x[at], fmt.Sprintf(format, args...))
}

// leaves is a packet from a pod on its host end, arrives one to a pod.
func (c *cluster) leaves(x expectation, p *lab.Pod, e echo, ttl int) {
	x.add(point{p.Node, c.hostEnds[p]}, "%s > ee:ee:ee:ee:ee:ee %s", c.macs[p.Key()], e.at(ttl))
}

func (c *cluster) arrives(x expectation, p *lab.Pod, e echo, ttl int) {
	x.add(point{p.Node, c.hostEnds[p]}, "ee:ee:ee:ee:ee:ee > %s %s", c.macs[p.Key()], e.at(ttl))
}

// crosses is a packet that leaves one node with a TTL and reaches another one. It returns the TTL with which it is there.
func (c *cluster) crosses(x expectation, w way, from, to *lab.Node, e echo, ttl int) int {
	there := ttl
	gone, come := fmt.Sprintf("%s > %s", c.macs[from.Name], c.macs[to.Name]), fmt.Sprintf("%s > %s", c.macs[from.Name], c.macs[to.Name])
	routers := 0
	if from.Subnet != to.Subnet {
		routers = 1
		gone = fmt.Sprintf("%s > %s", c.macs[from.Name], c.macs[fmt.Sprintf("router%d", from.Subnet)])
		come = fmt.Sprintf("%s > %s", c.macs[fmt.Sprintf("router%d", to.Subnet)], c.macs[to.Name])
	}
	out, in := point{from, "eth0"}, point{to, "eth0"}
	switch w {
	case plain:
		there = ttl - routers
		x.add(out, "%s %s", gone, e.at(ttl))
		x.add(in, "%s %s", come, e.at(there))
	case ipip:
		// The outer packet has the inner one's TTL: tunl0's ttl is "inherit" (ip-tunnel(8)).
		outer := func(ttl int) string {
			return fmt.Sprintf("%s > %s ttl %d proto 4 length %d", from.V4, to.V4, ttl, e.length+20)
		}
		x.add(point{from, "tunl0"}, "%s", e.at(ttl))
		x.add(out, "%s %s [%s]", gone, outer(ttl), e.at(ttl))
		x.add(in, "%s %s [%s]", come, outer(ttl-routers), e.at(ttl))
		x.add(point{to, "tunl0"}, "%s", e.at(ttl))
	case vxlan:
		frame := fmt.Sprintf("%s > %s %s", vtep(from), vtep(to), e.at(ttl))
		outer := func(ttl int) string {
			return fmt.Sprintf("%s > %s ttl %d proto 17 length %d ports * > 4789 vni 4096", from.V4, to.V4, ttl, e.length+50)
		}
		x.add(point{from, "vxlan.cw"}, "%s", frame)
		x.add(out, "%s %s [%s]", gone, outer(64), frame)
		x.add(in, "%s %s [%s]", come, outer(64-routers), frame)
		x.add(point{to, "vxlan.cw"}, "%s", frame)
	}
	return there
}
