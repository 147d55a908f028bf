package plan

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/infrastructure"
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
		own, lent := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
		for _, b := range in.Blocks {
			if b.Lender == in.Node && b.CIDR.IsValid() {
				lent[b.CIDR.Masked()] = true
			}
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
				if r.NextHop.Via.IsValid() && inside(r.Dst, o) && !lent[r.Dst] && r.Source != RouteSourceEndpoint {
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

// FuzzIncremental changes blocks, pods, learned routes, nodes and the infrastructure one at a time, and compares what comes
// of it with a whole new plan.
func FuzzIncremental(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(incremental)
}

func incremental(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	in := unique(chaos(r))
	other := unique(chaos(r))
	other.Node, other.V4, other.V6, other.Fabric = in.Node, in.V4, in.V6, in.Fabric
	planner, shown := New(in), state(New(in).Plan())
	for range 12 {
		fits := step(r, planner, &in, other)
		want := Make(in)
		if !fits { // all is planned anew, and applied as a whole
			planner = New(in)
			shown = state(want)
		}
		shown.change(planner.Flush())
		shown.unlink(in.Endpoints, want.KeepTo)
		if have := planner.Plan(); have.String() != want.String() {
			t.Fatalf("one at a time:\n%s\nat once:\n%s", have, want)
		}
		if have, want := planner.Counts(), CountRoutes(want.Routes); !slices.Equal(have, want) {
			t.Fatalf("counted %v, there are %v", have, want)
		}
		if want := state(want); !reflect.DeepEqual(shown, want) {
			t.Fatalf("the changes lead to\n%v\nnot to\n%v\nof %s", shown, want, planner.Plan())
		}
	}
}

// step changes one thing, in the input and by the planner's methods. It reports whether the planner can take it.
func step(r *rand.Rand, p *Planner, in *Input, other Input) bool {
	switch r.IntN(6) {
	case 0:
		if len(other.Blocks) == 0 {
			return true
		}
		b := other.Blocks[r.IntN(len(other.Blocks))]
		if slices.ContainsFunc(in.Blocks, func(o *Block) bool { return o.CIDR.Addr() == b.CIDR.Addr() && o.CIDR != b.CIDR }) {
			return true
		}
		in.Blocks = append(slices.DeleteFunc(slices.Clone(in.Blocks), func(o *Block) bool { return o.CIDR == b.CIDR }), b)
		return p.SetBlock(b)
	case 1:
		if len(in.Blocks) == 0 {
			return true
		}
		b := in.Blocks[r.IntN(len(in.Blocks))]
		in.Blocks = slices.DeleteFunc(slices.Clone(in.Blocks), func(o *Block) bool { return o.CIDR == b.CIDR })
		return p.DropBlock(b.CIDR)
	case 2:
		in.Endpoints = slices.Concat(in.Endpoints[r.IntN(len(in.Endpoints)+1):], other.Endpoints[r.IntN(len(other.Endpoints)+1):])
		p.SetEndpoints(in.Endpoints)
	case 3:
		changes := other.Learned
		for _, b := range in.Blocks {
			changes = append(changes, LearnedRoute{b.CIDR, []netip.Addr{netip.MustParseAddr("10.0.0.9")}})
		}
		if len(changes) == 0 {
			return true
		}
		l := changes[r.IntN(len(changes))]
		in.Learned = slices.DeleteFunc(slices.Clone(in.Learned), func(o LearnedRoute) bool { return o.Prefix == l.Prefix })
		if r.IntN(3) == 0 {
			l.NextHops = nil
		}
		if len(l.NextHops) > 0 {
			in.Learned = append(in.Learned, l)
		}
		p.SetLearned([]LearnedRoute{l})
	case 4:
		in.NodeAddresses = slices.Concat(in.NodeAddresses[r.IntN(len(in.NodeAddresses)+1):], other.NodeAddresses)
		p.SetNodeAddresses(in.NodeAddresses)
	case 5:
		in.Infrastructure = other.Infrastructure
		return p.SetInfrastructure(in.Infrastructure)
	}
	return true
}

// unique leaves one block of each first address, which stands for its node's end of a tunnel, and one learned route of each destination, as
// the API and the speaker do.
func unique(in Input) Input {
	blocks, learned := map[netip.Addr]bool{}, map[netip.Prefix]bool{}
	in.Blocks = slices.DeleteFunc(in.Blocks, func(b *Block) bool {
		b, ok := usable(b)
		again := ok && blocks[b.CIDR.Addr()]
		blocks[b.CIDR.Addr()] = true
		return again || !ok
	})
	for i := range in.Blocks {
		in.Blocks[i].CIDR = in.Blocks[i].CIDR.Masked()
	}
	in.Learned = slices.DeleteFunc(in.Learned, func(l LearnedRoute) bool {
		again := learned[l.Prefix.Masked()]
		learned[l.Prefix.Masked()] = true
		return again || !l.Prefix.IsValid() || len(l.NextHops) == 0
	})
	for i := range in.Learned {
		in.Learned[i].Prefix = in.Learned[i].Prefix.Masked()
	}
	return in
}

// applied is what a kernel shows that gets changes only. Neighbours are known by their address, FDB entries by their MAC.
type applied struct {
	routes     map[netip.Prefix]Route
	neighbours map[netip.Addr]string
	fdb        map[string]netip.Addr
	firewall   string
}

func state(p Plan) applied {
	a := applied{routes: map[netip.Prefix]Route{}, neighbours: map[netip.Addr]string{}, fdb: map[string]netip.Addr{}, firewall: p.Firewall.String()}
	for _, r := range p.Routes {
		a.routes[r.Dst] = r
	}
	for _, n := range p.Neighbours {
		a.neighbours[n.Address] = n.String()
	}
	for _, f := range p.FDB {
		a.fdb[f.MAC] = f.Node
	}
	return a
}

// unlink takes away the routes that were left as found, because their pods were being made or taken away.
func (a *applied) unlink(endpoints []Endpoint, keepTo []netip.Prefix) {
	for _, dst := range keepTo {
		delete(a.routes, dst)
	}
	for dst, r := range a.routes {
		there := slices.ContainsFunc(sortedEndpoints(endpoints), func(e Endpoint) bool { return e.Ready && e.Interface == r.NextHop.Device })
		if r.Source == RouteSourceEndpoint && r.NextHop.Device != "lo" && !there {
			delete(a.routes, dst)
		}
	}
}

func (a *applied) change(c Changes) {
	for _, r := range c.Routes {
		if r.Gone {
			delete(a.routes, r.Dst)
		} else {
			a.routes[r.Dst] = r.Route
		}
	}
	for _, n := range c.Neighbours {
		a.neighbours[n.Address] = n.String()
	}
	for _, n := range c.NeighboursGone {
		delete(a.neighbours, n.Address)
	}
	for _, f := range c.FDB {
		a.fdb[f.MAC] = f.Node
	}
	for _, f := range c.FDBGone {
		delete(a.fdb, f.MAC)
	}
	if c.Firewall != nil {
		a.firewall = c.Firewall.String()
	}
}

func shuffle(in Input, seed uint64) Input {
	r := rand.New(rand.NewPCG(seed, 2))
	mix := func(n int, swap func(i, j int)) { r.Shuffle(n, swap) }
	blocks := slices.Clone(in.Blocks)
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
		Capabilities: Capabilities{map[LinkKind]bool{KindIPIP: r.IntN(3) > 0, KindVXLAN: r.IntN(3) > 0}, r.IntN(3) > 0}, NodeAddresses: addresses(),
	}
	if r.IntN(2) == 0 {
		var networks []infrastructure.Network
		for range r.IntN(4) {
			p := prefix()
			networks = append(networks, infrastructure.NodeSubnet(name(), p))
		}
		of := infrastructure.Of(networks...)
		in.Infrastructure = &of
	}
	if r.IntN(2) == 0 {
		in.Tunnels = []string{"tunl0", "vxlan.cw"}
	}
	for i := range r.IntN(4) {
		in.Pools = append(in.Pools, Pool{Name: names[i], CIDR: prefix(), Encapsulation: modes[r.IntN(len(modes))], Sending: modes[r.IntN(len(modes))], Settled: r.IntN(2) == 0, Doubtful: r.IntN(3) == 0, NATOutgoing: r.IntN(2) == 0, NATExcept: []netip.Prefix{prefix().Masked()}})
	}
	for range r.IntN(8) {
		in.Blocks = append(in.Blocks, &Block{CIDR: prefix(), Pool: name(), Node: name(), NodeAddresses: addresses(), Created: time.Unix(int64(r.IntN(3)), 0)})
	}
	for i := range byte(r.IntN(9)) { // neighbours, some of which are announced as one
		b := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1, i * 32}), 27)
		node := []string{"b", "b", "b", "c", "a"}[r.IntN(5)]
		in.Blocks = append(in.Blocks, &Block{CIDR: b, Pool: "a", Node: node, NodeAddresses: addresses()})
		if r.IntN(2) == 0 {
			in.Learned = append(in.Learned, LearnedRoute{netip.PrefixFrom(b.Addr(), 27-r.IntN(4)).Masked(), addresses()})
		}
		if r.IntN(4) == 0 {
			in.Blocks = append(in.Blocks, &Block{CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1, i*32 + 8}), 29), Pool: "a", Node: "c", Lender: node, NodeAddresses: addresses()})
		}
	}
	if r.IntN(2) == 0 {
		in.Pools = append(in.Pools, Pool{Name: "a", CIDR: netip.MustParsePrefix("10.0.0.0/16"), Encapsulation: modes[r.IntN(len(modes))]})
	}
	for range r.IntN(4) {
		in.Endpoints = append(in.Endpoints, Endpoint{Interface: name(), Addresses: addresses(), Pools: []string{name()}, Ready: r.IntN(2) == 0})
	}
	for _, e := range in.Endpoints { // blocks of one address
		for _, a := range e.Addresses {
			taken := slices.ContainsFunc(in.Blocks, func(b *Block) bool { return b.CIDR.IsSingleIP() && b.CIDR.Addr() == a.WithZone("") })
			if r.IntN(2) == 0 && !taken {
				in.Blocks = append(in.Blocks, &Block{CIDR: netip.PrefixFrom(a, a.BitLen()), Pool: name(), Node: name()})
			}
		}
	}
	for range r.IntN(6) {
		in.Learned = append(in.Learned, LearnedRoute{prefix(), addresses()})
		in.Fabric = append(in.Fabric, FabricRoute{prefix(), address(), name()})
		in.PeerRoutes = append(in.PeerRoutes, PeerRoute{address(), address()})
	}
	return in
}
