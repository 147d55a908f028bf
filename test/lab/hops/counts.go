// Package hops says where ICMP packets between pods were lost. It turns what the lab's nodes counted before and after a
// test into a verdict: lost by a node that is ours to answer for, or lost where no node counted a cause, by the machine
// that the lab runs on. It takes text and values in and runs nothing itself.
package hops

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// Table is a script of nft(8). For each link, source and destination it counts the ICMP packets that come in before anything
// else on the node sees them, and those that go out after everything else; the same for tunnel packets that carry ICMP.
// `unreachable` are the ICMP errors that a node sends, without "fragmentation needed", which is part of every change of an MTU.
//
// The sets are in the order of a packet's way, which is the order in which they are read: a packet that passes meanwhile
// may look as if it had gone out without coming in, and never as if it were lost.
var Table = fmt.Sprintf(`table inet causeway-lab {
	set outer_in { typeof iifname . ip saddr . ip daddr; flags dynamic; size 4096; counter; }
	set inner_in { typeof iifname . ip saddr . ip daddr; flags dynamic; size 4096; counter; }
	set inner_out { typeof oifname . ip saddr . ip daddr; flags dynamic; size 4096; counter; }
	set outer_out { typeof oifname . ip saddr . ip daddr; flags dynamic; size 4096; counter; }
	set unreachable { typeof oifname . ip saddr . ip daddr; flags dynamic; size 4096; counter; }
	chain in {
		type filter hook prerouting priority -310; policy accept;
		ip protocol icmp update @inner_in { iifname . ip saddr . ip daddr }
		ip protocol ipencap @th,72,8 1 update @outer_in { iifname . ip saddr . ip daddr }
		udp dport %[1]d @th,312,8 1 update @outer_in { iifname . ip saddr . ip daddr }
	}
	chain out {
		type filter hook postrouting priority -310; policy accept;
		ip protocol icmp update @inner_out { oifname . ip saddr . ip daddr }
		ip protocol ipencap @th,72,8 1 update @outer_out { oifname . ip saddr . ip daddr }
		udp dport %[1]d @th,312,8 1 update @outer_out { oifname . ip saddr . ip daddr }
		icmp type destination-unreachable icmp code != 4 update @unreachable { oifname . ip saddr . ip daddr }
	}
}
`, names.DefaultVXLANPort)

// Script is a shell script that prints what a node has counted, for Parse.
const Script = `echo "== table"; nft -j list table inet causeway-lab
echo "== protocols"; cat /proc/net/snmp /proc/net/netstat
echo "== links"; ip -s -j link
echo "== backlog"; cat /proc/net/softnet_stat`

// Flow is ICMP of one source and destination on one link.
type Flow struct {
	Link     string
	From, To netip.Addr
}

// Counts is what one node has counted.
type Counts struct {
	// In and Out are packets that came in, and that went out.
	In, Out map[Flow]int64
	// OuterIn and OuterOut are tunnel packets that carry ICMP.
	OuterIn, OuterOut map[Flow]int64
	// Causes are counters that grow only when the node discards a packet or refuses it, by their name.
	Causes map[string]int64
	// LinkDrops are packets that links discarded, Backlog those that CPUs discarded because they were too slow. A veth counts
	// the latter among its own.
	LinkDrops, Backlog int64
}

// discards are the counters of /proc/net/snmp and /proc/net/netstat that grow when a packet is thrown away.
var discards = map[string]bool{
	"Ip.InHdrErrors": true, "Ip.InAddrErrors": true, "Ip.InUnknownProtos": true, "Ip.InDiscards": true, "Ip.OutDiscards": true,
	"Ip.OutNoRoutes": true, "Icmp.OutTimeExcds": true, "Icmp.OutParmProbs": true,
	"IpExt.InNoRoutes": true, "TcpExt.IPReversePathFilter": true,
}

// Parse reads what Script printed.
func Parse(text string) (Counts, error) {
	c := Counts{
		In: map[Flow]int64{}, Out: map[Flow]int64{}, OuterIn: map[Flow]int64{}, OuterOut: map[Flow]int64{}, Causes: map[string]int64{},
	}
	sections := map[string]string{}
	for _, part := range strings.Split("\n"+text, "\n== ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		sections[name] = body
	}
	if err := c.readTable(sections["table"]); err != nil {
		return c, fmt.Errorf("read the nft table of the lab's counters: %w", err)
	}
	if err := c.readLinks(sections["links"]); err != nil {
		return c, fmt.Errorf("read the links' counters: %w", err)
	}
	c.readProtocols(sections["protocols"])
	for line := range strings.Lines(sections["backlog"]) {
		if fields := strings.Fields(line); len(fields) > 1 {
			dropped, err := strconv.ParseInt(fields[1], 16, 64)
			if err != nil {
				return c, fmt.Errorf("read the backlog's counters: %w", err)
			}
			c.Backlog += dropped
		}
	}
	return c, nil
}

func (c *Counts) readTable(text string) error {
	type packets struct {
		Packets int64 `json:"packets"`
	}
	var list struct {
		Objects []struct {
			Set *struct {
				Name     string `json:"name"`
				Elements []struct {
					Elem struct {
						Val struct {
							Concat []string `json:"concat"`
						} `json:"val"`
						Counter packets `json:"counter"`
					} `json:"elem"`
				} `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return err
	}
	unreachable := map[Flow]int64{}
	sets := map[string]map[Flow]int64{
		"outer_in": c.OuterIn, "inner_in": c.In, "inner_out": c.Out, "outer_out": c.OuterOut, "unreachable": unreachable,
	}
	for _, o := range list.Objects {
		if o.Set == nil {
			continue
		}
		to, known := sets[o.Set.Name]
		if !known {
			return fmt.Errorf("it has set %s twice, or does not know it", o.Set.Name)
		}
		delete(sets, o.Set.Name)
		for _, e := range o.Set.Elements {
			flow, err := parseFlow(e.Elem.Val.Concat)
			if err != nil {
				return err
			}
			to[flow] = e.Elem.Counter.Packets
		}
	}
	if len(sets) > 0 {
		return fmt.Errorf("it lacks sets: %s", text)
	}
	c.Causes["ICMP destination unreachable sent"] = total(unreachable)
	return nil
}

func parseFlow(parts []string) (Flow, error) {
	if len(parts) != 3 {
		return Flow{}, fmt.Errorf("a flow has three parts, not %q", parts)
	}
	from, err := netip.ParseAddr(parts[1])
	if err != nil {
		return Flow{}, err
	}
	to, err := netip.ParseAddr(parts[2])
	return Flow{parts[0], from, to}, err
}

// readLinks leaves tunnels out: they count what IPv6 says there by itself and nobody hears. What a tunnel loses is seen by
// comparing inner and outer packets.
func (c *Counts) readLinks(text string) error {
	type side struct {
		Errors  int64 `json:"errors"`
		Dropped int64 `json:"dropped"`
	}
	var links []struct {
		Name  string `json:"ifname"`
		Stats struct {
			RX side `json:"rx"`
			TX side `json:"tx"`
		} `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(text), &links); err != nil {
		return err
	}
	for _, l := range links {
		if !tunnel(l.Name) {
			c.LinkDrops += l.Stats.RX.Errors + l.Stats.RX.Dropped + l.Stats.TX.Errors + l.Stats.TX.Dropped
		}
	}
	return nil
}

// readProtocols reads pairs of lines: "Ip: <names>", then "Ip: <numbers>".
func (c *Counts) readProtocols(text string) {
	var heads []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(heads) == 0 || len(fields) != len(heads) || fields[0] != heads[0] {
			heads = fields
			continue
		}
		for i, head := range heads[1:] {
			name := strings.Replace(heads[0], ":", ".", 1) + head
			if n, err := strconv.ParseInt(fields[i+1], 10, 64); err == nil && discards[name] {
				c.Causes[name] = n
			}
		}
		heads = nil
	}
}

// Since is what was counted after an earlier reading.
func (c Counts) Since(earlier Counts) Counts {
	return Counts{
		In: difference(c.In, earlier.In), Out: difference(c.Out, earlier.Out),
		OuterIn: difference(c.OuterIn, earlier.OuterIn), OuterOut: difference(c.OuterOut, earlier.OuterOut),
		Causes:    difference(c.Causes, earlier.Causes),
		LinkDrops: c.LinkDrops - earlier.LinkDrops, Backlog: c.Backlog - earlier.Backlog,
	}
}

func difference[K comparable](now, before map[K]int64) map[K]int64 {
	out := map[K]int64{}
	for k, n := range now {
		if n != before[k] {
			out[k] = n - before[k]
		}
	}
	return out
}

func tunnel(link string) bool { return link == names.IPIPDevice || link == names.VXLANDevice }
