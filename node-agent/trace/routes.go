package trace

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// way is a packet that the kernel is asked about.
type way struct {
	leg      string
	to, from netip.Addr
	input    string // the link that it comes in by; "" for one that the node sends itself
}

// route asks the kernel what it does with a packet.
func route(w way) v1alpha1.RouteFact {
	fact := v1alpha1.RouteFact{Leg: w.leg, Destination: w.to.String(), InputInterface: w.input}
	options := netlink.RouteGetOptions{}
	if w.from.IsValid() {
		fact.Source, options.SrcAddr = w.from.String(), w.from.AsSlice()
	}
	options.Iif = w.input
	found, err := netlink.RouteGetWithOptions(w.to.AsSlice(), &options)
	if w.input != "" {
		checkWayBack(&fact, w)
	}
	if err != nil && w.input != "" { // rp_filter refuses the source, perhaps, or the route refuses the packet
		if again, errAgain := netlink.RouteGetWithOptions(w.to.AsSlice(), nil); errAgain == nil || !errors.Is(err, unix.EXDEV) {
			found, err = again, errAgain
		}
		options = netlink.RouteGetOptions{}
	}
	if err == nil && len(found) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		fact.Type = refusal(err)
		refusedBy(&fact, w.to)
		return fact
	}
	chosen := found[0]
	fact.Type = typeName(chosen.Type)
	if fact.Type != "unicast" && fact.Type != "local" {
		refusedBy(&fact, w.to)
		return fact
	}
	options.FIBMatch = true
	if matched, err := netlink.RouteGetWithOptions(w.to.AsSlice(), &options); err == nil && len(matched) > 0 {
		describe(&fact, matched[0], w.to)
	}
	fact.Rule = ruleOf(fact.Table, w)
	nextHop(&fact, chosen, w.to)
	return fact
}

// describe notes the entry of the routing table.
func describe(fact *v1alpha1.RouteFact, r netlink.Route, to netip.Addr) {
	fact.Prefix = prefixOf(r, to)
	fact.Protocol, fact.Table = int32(r.Protocol), int32(r.Table)
	fact.MTU = int32(r.MTU)
}

func prefixOf(r netlink.Route, to netip.Addr) string {
	if r.Dst == nil {
		if to.Is6() {
			return "::/0"
		}
		return "0.0.0.0/0"
	}
	return r.Dst.String()
}

// nextHop notes where the packet goes next: the neighbour's hardware address, and the other end of a tunnel.
func nextHop(fact *v1alpha1.RouteFact, r netlink.Route, to netip.Addr) {
	next := to
	if gateway, ok := netip.AddrFromSlice(r.Gw); ok {
		next = gateway.Unmap()
		fact.Gateway = next.String()
	}
	link, err := netlink.LinkByIndex(r.LinkIndex)
	if err != nil {
		return
	}
	fact.Interface = link.Attrs().Name
	if fact.MTU == 0 {
		fact.MTU = int32(link.Attrs().MTU)
	}
	if fact.Type == "local" {
		return
	}
	hardware := neighbour(fact, link, next)
	switch link.Type() {
	case "vxlan":
		fact.Tunnel = forwarding(link, hardware)
	case "ipip":
		fact.Tunnel = next.String()
	}
}

// states name what the kernel thinks of a neighbour (neighbour.h, NUD_*).
var states = map[int]string{
	netlink.NUD_NONE: "none", netlink.NUD_INCOMPLETE: "incomplete", netlink.NUD_REACHABLE: "reachable", netlink.NUD_STALE: "stale", netlink.NUD_DELAY: "delay",
	netlink.NUD_PROBE: "probe", netlink.NUD_FAILED: "failed", netlink.NUD_NOARP: "noarp", netlink.NUD_PERMANENT: "permanent",
}

func neighbour(fact *v1alpha1.RouteFact, link netlink.Link, next netip.Addr) net.HardwareAddr {
	if link.Attrs().RawFlags&unix.IFF_NOARP != 0 {
		return nil
	}
	family := netlink.FAMILY_V4
	if next.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := netlink.NeighList(link.Attrs().Index, family)
	if err != nil {
		return nil
	}
	fact.NeighbourState = "missing"
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP); ok && a.Unmap() == next {
			fact.NeighbourState = cmp.Or(states[n.State], strconv.Itoa(n.State))
			fact.Neighbour = n.HardwareAddr.String()
			return n.HardwareAddr
		}
	}
	return nil
}

// forwarding asks the forwarding database of a VXLAN device for the node behind a hardware address.
func forwarding(link netlink.Link, hardware net.HardwareAddr) string {
	list, err := netlink.NeighList(link.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		return ""
	}
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP); ok && len(hardware) > 0 && bytes.Equal(n.HardwareAddr, hardware) {
			return a.Unmap().String()
		}
	}
	return "missing"
}

// refusal is the type of the route that makes the kernel answer with an error (fib_props in net/ipv4/fib_semantics.c).
func refusal(err error) string {
	switch {
	case errors.Is(err, unix.EINVAL):
		return "blackhole"
	case errors.Is(err, unix.EHOSTUNREACH):
		return "unreachable"
	case errors.Is(err, unix.EACCES):
		return "prohibit"
	case errors.Is(err, unix.ENETUNREACH):
		return "missing"
	}
	return "error"
}

func typeName(kind int) string {
	switch kind {
	case unix.RTN_UNICAST, 0:
		return "unicast"
	case unix.RTN_LOCAL:
		return "local"
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	}
	return "type " + strconv.Itoa(kind)
}

// refusedBy finds the route that refuses a packet: of those that cover the destination, the longest. The kernel tells the error
// alone.
func refusedBy(fact *v1alpha1.RouteFact, to netip.Addr) {
	family := netlink.FAMILY_V4
	if to.Is6() {
		family = netlink.FAMILY_V6
	}
	all, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return
	}
	longest := -1
	for _, r := range all {
		name := typeName(r.Type)
		if name != "blackhole" && name != "unreachable" && name != "prohibit" {
			continue
		}
		bits := 0
		if r.Dst != nil {
			if !r.Dst.Contains(to.AsSlice()) {
				continue
			}
			bits, _ = r.Dst.Mask.Size()
		}
		if bits > longest {
			longest, fact.Type = bits, name
			describe(fact, r, to)
		}
	}
	if longest < 0 && fact.Type != "error" {
		fact.Type = "missing"
	}
	fact.Rule = ""
}

// ruleOf is the first routing rule that leads to a table and may be about a packet.
func ruleOf(table int32, w way) string {
	family := netlink.FAMILY_V4
	if w.to.Is6() {
		family = netlink.FAMILY_V6
	}
	rules, err := netlink.RuleList(family)
	if err != nil {
		return ""
	}
	slices.SortStableFunc(rules, func(a, b netlink.Rule) int { return cmp.Compare(max(a.Priority, 0), max(b.Priority, 0)) })
	for _, r := range rules {
		about := (r.Dst == nil || r.Dst.Contains(w.to.AsSlice())) && (r.Src == nil || w.from.IsValid() && r.Src.Contains(w.from.AsSlice())) &&
			(r.IifName == "" || r.IifName == w.input)
		if int32(r.Table) == table && about {
			return writeRule(r)
		}
	}
	return ""
}

// writeRule writes a rule as ip-rule(8) does.
func writeRule(r netlink.Rule) string {
	from := "all"
	if r.Src != nil {
		from = r.Src.String()
	}
	text := fmt.Sprintf("%d: from %s", max(r.Priority, 0), from)
	if r.Dst != nil {
		text += " to " + r.Dst.String()
	}
	if r.IifName != "" {
		text += " iif " + r.IifName
	}
	if r.Mark != 0 {
		text += fmt.Sprintf(" fwmark %#x", r.Mark)
	}
	table := map[int]string{unix.RT_TABLE_LOCAL: "local", unix.RT_TABLE_MAIN: "main", unix.RT_TABLE_DEFAULT: "default"}[r.Table]
	return text + " lookup " + cmp.Or(table, strconv.Itoa(r.Table))
}

// checkWayBack notes what rp_filter and our own rule against forged sources compare: the link that the packet came in by, and that
// which leads back to its source. The kernel has rp_filter for IPv4 only (ip-sysctl).
func checkWayBack(fact *v1alpha1.RouteFact, w way) {
	if w.from.Is4() {
		fact.ReversePathFilter = int32(max(sysctl("all"), sysctl(w.input)))
	}
	if !w.from.IsValid() {
		return
	}
	back, err := netlink.RouteGet(w.from.AsSlice())
	if err != nil || len(back) == 0 {
		return
	}
	if link, err := netlink.LinkByIndex(back[0].LinkIndex); err == nil {
		fact.Back = link.Attrs().Name
	}
}

func sysctl(link string) int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + link + "/rp_filter")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // the kernel writes a number
	return n
}

// reversePathDrops is the kernel's counter of what rp_filter has dropped (TcpExt, IPReversePathFilter).
func reversePathDrops() int64 {
	text, err := os.ReadFile("/proc/net/netstat")
	if err != nil {
		return 0
	}
	var header []string
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "TcpExt:" {
			continue
		}
		if header == nil {
			header = words
			continue
		}
		if i := slices.Index(header, "IPReversePathFilter"); i > 0 && i < len(words) {
			n, _ := strconv.ParseInt(words[i], 10, 64) // the kernel writes a number
			return n
		}
	}
	return 0
}

// ownAddresses are the node's.
func ownAddresses() []netip.Addr {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil // what is masqueraded is not followed then
	}
	var out []netip.Addr
	for _, a := range list {
		if address, ok := netip.AddrFromSlice(a.IP); ok {
			out = append(out, address.Unmap())
		}
	}
	return out
}

// mostLinks is how many links are reported.
const mostLinks = 16

// links are those of the node that are not pods'.
func links() []v1alpha1.NodeLink {
	list, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	var out []v1alpha1.NodeLink
	for _, l := range list {
		a := l.Attrs()
		if names.IsHostInterface(a.Name) || a.Flags&net.FlagLoopback != 0 || a.Flags&net.FlagUp == 0 || len(out) == mostLinks {
			continue
		}
		out = append(out, v1alpha1.NodeLink{Name: a.Name, MAC: a.HardwareAddr.String(), MTU: int32(a.MTU)})
	}
	return out
}
