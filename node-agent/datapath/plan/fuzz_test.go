package plan

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// FuzzMake plays clusters that nobody would build, and checks what must hold in each.
func FuzzMake(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		in := chaos(rand.New(rand.NewPCG(seed, 1)))
		p := Make(in)
		_ = p.String()
		if !reflect.DeepEqual(p, Make(in)) {
			t.Fatal("equal inputs give different plans")
		}
		if shuffled := Make(shuffle(in, seed)); shuffled.String() != p.String() {
			t.Fatalf("the order of the input matters:\n%s\n%s", p, shuffled)
		}
		own := map[netip.Prefix]bool{}
		for _, b := range in.Blocks {
			if b.Node == in.Node && b.CIDR.IsValid() && !b.CIDR.Addr().Is4In6() {
				own[b.CIDR.Masked()] = true
			}
		}
		seen := map[netip.Prefix]bool{}
		for i, r := range p.Routes {
			if seen[r.Dst] {
				t.Fatalf("two routes to %s:\n%s", r.Dst, p)
			}
			seen[r.Dst] = true
			if !r.Dst.IsValid() || r.Dst != r.Dst.Masked() {
				t.Fatalf("not a destination: %s", r.Dst)
			}
			if i > 0 && ComparePrefixes(p.Routes[i-1].Dst, r.Dst) >= 0 {
				t.Fatalf("not sorted:\n%s", p)
			}
			if r.NextHop.Via.IsValid() && r.NextHop.Via.Is4() != r.Dst.Addr().Is4() {
				t.Fatalf("mixed families: %s", r)
			}
			for o := range own {
				if r.NextHop.Via.IsValid() && inside(r.Dst, o) && r.Source != RouteSourceEndpoint {
					t.Fatalf("%s leads away from the own block %s", r, o)
				}
			}
		}
		for _, s := range p.Firewall.Sets {
			for _, e := range s.Elements {
				if e == "" || e == "invalid IP" {
					t.Fatalf("set %s has element %q", s.Name, e)
				}
			}
		}
	})
}

// FuzzIncremental changes what is learned, and compares the routes that are planned one at a time with a whole new plan.
func FuzzIncremental(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		in := chaos(rand.New(rand.NewPCG(seed, 1)))
		r := rand.New(rand.NewPCG(seed, 3))
		before, after := map[netip.Prefix]LearnedRoute{}, map[netip.Prefix]LearnedRoute{}
		add := func(dst netip.Prefix, l LearnedRoute) {
			if !dst.IsValid() {
				return
			}
			l.Prefix = dst.Masked()
			if r.IntN(2) == 0 {
				before[l.Prefix] = l
			}
			if r.IntN(2) == 0 {
				after[l.Prefix] = LearnedRoute{l.Prefix, in.Learned[r.IntN(len(in.Learned))].NextHops}
			}
		}
		for _, l := range in.Learned {
			add(l.Prefix, l)
			for _, b := range in.Blocks {
				add(b.CIDR, l)
			}
			for _, p := range in.PeerRoutes {
				add(netip.PrefixFrom(p.Peer, p.Peer.BitLen()), l)
			}
		}
		in.Learned = slices.Collect(maps.Values(before))
		plan, incremental := MakeIncremental(in)
		routes := map[netip.Prefix]Route{}
		for _, route := range plan.Routes {
			routes[route.Dst] = route
		}
		for dst := range before {
			if _, still := after[dst]; !still {
				change(routes, incremental.Plan(LearnedRoute{Prefix: dst}))
			}
		}
		for _, l := range after {
			change(routes, incremental.Plan(l))
		}
		in.Learned = slices.Collect(maps.Values(after))
		want := map[netip.Prefix]Route{}
		for _, route := range Make(in).Routes {
			want[route.Dst] = route
		}
		if !reflect.DeepEqual(routes, want) {
			t.Fatalf("one at a time: %v\nat once: %v", routes, want)
		}
	})
}

func change(routes map[netip.Prefix]Route, c RouteChange) {
	if c.Gone {
		delete(routes, c.Dst)
	} else {
		routes[c.Dst] = c.Route
	}
}

func shuffle(in Input, seed uint64) Input {
	r := rand.New(rand.NewPCG(seed, 2))
	mix := func(n int, swap func(i, j int)) { r.Shuffle(n, swap) }
	blocks := append([]Block(nil), in.Blocks...)
	mix(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	in.Blocks = blocks
	return in
}

func chaos(r *rand.Rand) Input {
	modes := []v1alpha1.Encapsulation{"", none, ipip, ipipCross, vxlan, vxlanCross, "Odd"}
	address := func() netip.Addr {
		switch r.IntN(12) {
		case 0:
			return netip.Addr{}
		case 1:
			return netip.MustParseAddr("::ffff:10.0.0.1")
		case 2, 3, 4:
			return netip.AddrFrom16([16]byte{0xfd, byte(r.IntN(2)), 15: byte(r.IntN(256))})
		case 5:
			return netip.MustParseAddr("fe80::1%eth0")
		}
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(3)), byte(r.IntN(256))})
	}
	prefix := func() netip.Prefix {
		a := address()
		return netip.PrefixFrom(a, r.IntN(max(1, a.BitLen())+1))
	}
	addresses := func() (list []netip.Addr) {
		for range r.IntN(3) {
			list = append(list, address())
		}
		return list
	}
	names := []string{"a", "b", "c", ""}
	name := func() string { return names[r.IntN(len(names))] }
	place := func() Underlay {
		p := prefix()
		if r.IntN(4) == 0 {
			return Underlay{}
		}
		return Underlay{Address: address(), Subnet: p, Interface: name(), MTU: r.IntN(2000), RPFilter: r.IntN(3), AcceptRA: r.IntN(3)}
	}
	in := Input{
		Node: "a", V4: place(), V6: place(), RPFilterAll: r.IntN(3), AcceptDefault: r.IntN(2) == 0, NoWayToGateway: r.IntN(4) == 0,
		Capabilities: Capabilities{r.IntN(3) > 0, r.IntN(3) > 0, r.IntN(3) > 0}, NodeAddresses: addresses(),
	}
	if r.IntN(2) == 0 {
		in.Tunnels = []string{"tunl0", "vxlan.cw"}
	}
	for i := range r.IntN(4) {
		in.Pools = append(in.Pools, Pool{Name: names[i], CIDR: prefix(), Encapsulation: modes[r.IntN(len(modes))], Sending: modes[r.IntN(len(modes))], Settled: r.IntN(2) == 0, NATOutgoing: r.IntN(2) == 0})
	}
	for range r.IntN(8) {
		in.Blocks = append(in.Blocks, Block{CIDR: prefix(), Pool: name(), Node: name(), NodeAddresses: addresses(), Created: time.Unix(int64(r.IntN(3)), 0)})
	}
	for range r.IntN(4) {
		in.Endpoints = append(in.Endpoints, Endpoint{Interface: name(), Addresses: addresses(), Pools: []string{name()}, Ready: r.IntN(2) == 0})
	}
	for range r.IntN(6) {
		in.Learned = append(in.Learned, LearnedRoute{prefix(), addresses()})
		in.Fabric = append(in.Fabric, FabricRoute{prefix(), address(), name()})
		in.PeerRoutes = append(in.PeerRoutes, PeerRoute{address(), address()})
	}
	return in
}
