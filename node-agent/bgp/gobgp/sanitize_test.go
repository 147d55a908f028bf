package gobgp

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// updates are well-formed UPDATE bodies to mutate.
func updates(t testing.TB) [][]byte {
	t.Helper()
	path := bgp.NewPathAttributeAsPath([]bgp.AsPathParamInterface{bgp.NewAs4PathParam(2, []uint32{65001, 4200000000})})
	v6 := bgp.NewPathAttributeMpReachNLRI("2001:db8::1", []bgp.AddrPrefixInterface{bgp.NewIPv6AddrPrefix(48, "2001:db8:1::"), bgp.NewIPv6AddrPrefix(128, "2001:db8::9")})
	messages := []*bgp.BGPMessage{
		bgp.NewBGPUpdateMessage(nil, []bgp.PathAttributeInterface{
			bgp.NewPathAttributeOrigin(0), path, bgp.NewPathAttributeNextHop("10.0.0.1"), bgp.NewPathAttributeMultiExitDisc(7),
			bgp.NewPathAttributeCommunities([]uint32{65001<<16 | 7}), bgp.NewPathAttributeAggregator(uint32(65001), "10.0.0.1"),
			bgp.NewPathAttributeLargeCommunities([]*bgp.LargeCommunity{{ASN: 1, LocalData1: 2, LocalData2: 3}}),
		}, []*bgp.IPAddrPrefix{bgp.NewIPAddrPrefix(24, "192.0.2.0"), bgp.NewIPAddrPrefix(17, "10.1.0.0")}),
		bgp.NewBGPUpdateMessage([]*bgp.IPAddrPrefix{bgp.NewIPAddrPrefix(24, "192.0.2.0")}, nil, nil),
		bgp.NewBGPUpdateMessage(nil, []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(2), path, v6}, nil),
		bgp.NewBGPUpdateMessage(nil, []bgp.PathAttributeInterface{
			bgp.NewPathAttributeMpUnreachNLRI([]bgp.AddrPrefixInterface{bgp.NewIPv6AddrPrefix(48, "2001:db8:1::")})}, nil),
		bgp.NewBGPUpdateMessage(nil, nil, nil),
	}
	var bodies [][]byte
	for _, m := range messages {
		b, err := m.Serialize()
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, b[headerLength:])
	}
	return bodies
}

// check cleans a body and gives the result to GoBGP's decoder and validator: neither may complain.
func check(t *testing.T, s sanitizer, body []byte) (passed bool) {
	t.Helper()
	cleaned, _, fault := s.clean(body)
	if fault != nil || cleaned == nil {
		return false
	}
	m, err := bgp.ParseBGPBody(&bgp.BGPHeader{Type: typeUpdate, Len: uint16(headerLength + len(cleaned))}, cleaned)
	if err != nil {
		t.Fatalf("GoBGP can't decode %x, cleaned of %x: %v", cleaned, body, err)
	}
	families := map[bgp.RouteFamily]bgp.BGPAddPathMode{}
	if s.ipv4 {
		families[bgp.RF_IPv4_UC] = 0
	}
	if s.ipv6 {
		families[bgp.RF_IPv6_UC] = 0
	}
	if _, err := bgp.ValidateUpdateMsg(m.Body.(*bgp.BGPUpdate), families, s.external, false, false); err != nil {
		t.Fatalf("GoBGP objects to %x, cleaned of %x: %v", cleaned, body, err)
	}
	again, complaint, fault := s.clean(cleaned)
	if fault != nil || complaint != "" || string(again) != string(cleaned) {
		t.Fatalf("what is clean is not: %x, cleaned of %x: %q %v", cleaned, body, complaint, fault)
	}
	return true
}

func sanitizers() []sanitizer {
	return []sanitizer{
		{external: true, fourOctetAS: true, ipv4: true, ipv6: true}, {fourOctetAS: true, ipv4: true, ipv6: true},
		{external: true, fourOctetAS: true, ipv6: true},
	}
}

func TestCleanKeepsWhatIsGood(t *testing.T) {
	for i, body := range updates(t) {
		cleaned, complaint, fault := sanitizers()[0].clean(body)
		if fault != nil || complaint != "" || string(cleaned) != string(body) {
			t.Errorf("message %d: %q %v\n%x\n%x", i, complaint, fault, body, cleaned)
		}
	}
}

// TestLoopIsWithdrawn has a message whose path is 65001 4200000000.
func TestLoopIsWithdrawn(t *testing.T) {
	t.Parallel()
	body := updates(t)[0]
	for _, c := range []struct {
		own      uint32
		allowOwn int
		loop     bool
	}{{64512, 0, false}, {4200000000, 0, true}, {65001, 0, true}, {4200000000, 1, false}} {
		s := sanitizers()[0]
		s.own, s.allowOwn = c.own, c.allowOwn
		cleaned, complaint, fault := s.clean(body)
		if fault != nil || complaint != "" {
			t.Fatalf("%+v: %q %v", c, complaint, fault)
		}
		u, err := splitUpdate(cleaned)
		if err != nil {
			t.Fatal(err)
		}
		if loop := len(u.nlri) == 0 && len(u.attributes) == 0 && len(u.withdrawn) == 8; loop != c.loop {
			t.Errorf("%+v: became %x", c, cleaned)
		}
	}
}

func TestOwnRouteFromAReflectorIsWithdrawn(t *testing.T) {
	t.Parallel()
	m, err := bgp.NewBGPUpdateMessage(nil, []bgp.PathAttributeInterface{
		bgp.NewPathAttributeOrigin(0), bgp.NewPathAttributeAsPath(nil), bgp.NewPathAttributeNextHop("10.0.0.1"), bgp.NewPathAttributeLocalPref(100),
		bgp.NewPathAttributeOriginatorId("10.0.0.7"), bgp.NewPathAttributeClusterList([]string{"224.0.0.1"}),
	}, []*bgp.IPAddrPrefix{bgp.NewIPAddrPrefix(24, "192.0.2.0")}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	for id, own := range map[string]bool{"10.0.0.7": true, "10.0.0.8": false} {
		s := sanitizers()[1]
		s.routerID = netip.MustParseAddr(id)
		cleaned, complaint, fault := s.clean(m[headerLength:])
		if fault != nil || complaint != "" {
			t.Fatalf("%s: %q %v", id, complaint, fault)
		}
		u, err := splitUpdate(cleaned)
		if err != nil {
			t.Fatal(err)
		}
		if withdrawn := len(u.nlri) == 0 && len(u.attributes) == 0 && len(u.withdrawn) == 4; withdrawn != own {
			t.Errorf("%s: became %x", id, cleaned)
		}
	}
}

// TestMutatedUpdates throws 50,000 mutated messages at the check.
func TestMutatedUpdates(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(4, 271))
	bodies := updates(t)
	passed := 0
	for range 50000 {
		if check(t, sanitizers()[random.IntN(3)], mutate(random, bodies[random.IntN(len(bodies))])) {
			passed++
		}
	}
	t.Logf("%d of 50000 mutated messages reach GoBGP, some as withdrawals", passed)
	if passed < 5000 {
		t.Error("the mutations are too coarse to tell anything")
	}
}

func FuzzUpdate(f *testing.F) {
	for _, b := range updates(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, s := range sanitizers() {
			check(t, s, body)
		}
	})
}

func FuzzOpen(f *testing.F) {
	open := bgp.NewBGPOpenMessage(65001, 90, "10.0.0.1", []bgp.OptionParameterInterface{bgp.NewOptionParameterCapability([]bgp.ParameterCapabilityInterface{
		bgp.NewCapMultiProtocol(bgp.RF_IPv6_UC), bgp.NewCapFourOctetASNumber(65001), bgp.NewCapRouteRefresh(),
		bgp.NewCapGracefulRestart(true, true, 120, []*bgp.CapGracefulRestartTuple{bgp.NewCapGracefulRestartTuple(bgp.RF_IPv4_UC, true)}),
	})})
	b, err := open.Serialize()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[headerLength:])
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := decodeOpen(body); err != nil || len(body) > 255+10 {
			return
		}
		cleaned := cleanOpen(body)
		if _, err := bgp.ParseBGPBody(&bgp.BGPHeader{Type: typeOpen, Len: uint16(headerLength + len(cleaned))}, cleaned); err != nil {
			t.Fatalf("GoBGP can't decode %x, cleaned of %x: %v", cleaned, body, err)
		}
	})
}

// mutate changes some bytes, lengths more often than chance would.
func mutate(r *rand.Rand, body []byte) []byte {
	b := append([]byte(nil), body...)
	for range 1 + r.IntN(4) {
		if len(b) == 0 {
			return b
		}
		i := r.IntN(len(b))
		switch r.IntN(6) {
		case 0:
			b[i] = byte(r.Uint32())
		case 1:
			b[i] ^= 1 << r.IntN(8)
		case 2:
			b[i]--
		case 3:
			b[i]++
		case 4:
			b = append(b[:i], b[i+1:]...)
		default:
			b = append(b[:i], append([]byte{byte(r.Uint32())}, b[i:]...)...)
		}
	}
	return b
}

func TestWithdrawalMessage(t *testing.T) {
	for _, text := range []string{"10.0.0.0/9", "0.0.0.0/0", "2001:db8::/33", "::1/128"} {
		p := netip.MustParsePrefix(text)
		g := guard{sent: map[netip.Prefix]struct{}{p: {}}}
		g.follow(withdrawal(p))
		if len(g.sent) != 0 {
			t.Errorf("%s was not withdrawn", p)
		}
		check(t, sanitizers()[0], withdrawal(p)[headerLength:])
	}
}
