package plan

import (
	"fmt"
	"strings"
)

// String shows a plan as `ip`, `bridge`, `sysctl` and `nft` would.
func (p Plan) String() string {
	var b strings.Builder
	lines(&b, p.Links)
	lines(&b, p.Addresses)
	lines(&b, p.Neighbours)
	lines(&b, p.FDB)
	lines(&b, p.Routes)
	for _, k := range p.Keep {
		fmt.Fprintf(&b, "# routes of %s are left as they are\n", k)
	}
	for _, dst := range p.KeepTo {
		fmt.Fprintf(&b, "# the route to %s is left as it is\n", dst.Addr())
	}
	lines(&b, p.Sysctls)
	b.WriteString(p.Firewall.String())
	for _, m := range p.PodMTU {
		fmt.Fprintf(&b, "# pods of pool %s: mtu %d\n", m.Pool, m.MTU)
	}
	for _, m := range p.EndpointMTU {
		fmt.Fprintf(&b, "# %s: mtu at most %d\n", m.Interface, m.MTU)
	}
	for _, x := range p.Problems {
		fmt.Fprintf(&b, "# problem: %s\n", x.Message)
	}
	for _, r := range p.Refused {
		fmt.Fprintf(&b, "# refused: %s\n", r.Message)
	}
	return b.String()
}

func lines[T fmt.Stringer](b *strings.Builder, list []T) {
	for _, x := range list {
		b.WriteString(x.String())
		b.WriteByte('\n')
	}
}

// String shows the link as `ip -d link` does.
func (l Link) String() string {
	s := fmt.Sprintf("link %s mtu %d up %s", l.Name, l.MTU, l.Kind)
	if l.Settings != nil {
		s += " " + l.Settings.String()
	}
	return s
}

// String shows the address as `ip address` does.
func (a Address) String() string { return fmt.Sprintf("address %s dev %s", a.Prefix, a.Device) }

// String shows the entry as `ip neighbour` does.
func (n Neighbour) String() string {
	return fmt.Sprintf("neigh %s dev %s lladdr %s PERMANENT", n.Address, n.Device, n.MAC)
}

// String shows the entry as `bridge fdb` does.
func (f FDBEntry) String() string {
	return fmt.Sprintf("fdb %s dev %s dst %s self permanent", f.MAC, f.Device, f.Node)
}

// String shows the route as `ip route` does.
func (r Route) String() string {
	var b strings.Builder
	if r.Blackhole() {
		b.WriteString("blackhole ")
	}
	if r.Dst.IsSingleIP() {
		b.WriteString(r.Dst.Addr().String())
	} else {
		b.WriteString(r.Dst.String())
	}
	if len(r.More) > 0 {
		fmt.Fprintf(&b, " proto %d", r.Protocol)
		for _, h := range append([]NextHop{r.NextHop}, r.More...) {
			b.WriteString(" nexthop" + h.String())
		}
		return b.String()
	}
	b.WriteString(r.NextHop.String())
	fmt.Fprintf(&b, " proto %d", r.Protocol)
	if !r.Blackhole() && !r.NextHop.Via.IsValid() {
		b.WriteString(" scope link")
	}
	return b.String()
}

// String shows the next hop as `ip route` does, with a space before.
func (h NextHop) String() string {
	s := ""
	if h.Via.IsValid() {
		s += " via " + h.Via.String()
	}
	if h.Device != "" {
		s += " dev " + h.Device
	}
	if h.OnLink {
		s += " onlink"
	}
	return s
}

// String shows the setting as `sysctl` does.
func (s Sysctl) String() string { return strings.ReplaceAll(s.Key, "/", ".") + " = " + s.Value }

// String shows the table as `nft list table` does.
func (f Firewall) String() string {
	if len(f.Sets) == 0 && len(f.Chains) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("table inet causeway {\n")
	for _, s := range f.Sets {
		fmt.Fprintf(&b, "\tset %s { type %s", s.Name, s.Type)
		if s.Interval {
			b.WriteString("; flags interval")
		}
		fmt.Fprintf(&b, "; elements = { %s } }\n", strings.Join(s.Elements, ", "))
	}
	for _, c := range f.Chains {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s hook %s priority %s; policy accept;\n", c.Name, c.Type, c.Hook, c.Priority)
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t%s\n", r)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
