package bgpplan

import (
	"fmt"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// TestLink checks which sessions hand on next hops on a shared link (RFC 4271 section 5.1.3): a route reflector's to routers
// outside that are on its link, unless the BGPPeer says otherwise.
func TestLink(t *testing.T) {
	const link = "[10.0.0.0/24 2001:db8::/64]"
	for name, c := range map[string]struct {
		noReflector bool
		router      string
		as          int64
		change      func(*v1alpha1.BGPPeerSpec)
		want        string
	}{
		"a router on the link":                     {router: "10.0.0.254", as: 65001, want: link},
		"a router on the IPv6 link":                {router: "2001:db8::fe", as: 65001, want: link},
		"a router on the link, next hop mode Auto": {router: "10.0.0.254", as: 65001, change: nextHop(v1alpha1.NextHopAuto), want: link},
		"a router on the link, next hop mode Self": {router: "10.0.0.254", as: 65001, change: nextHop(v1alpha1.NextHopSelf), want: "[]"},
		"a router on the link, next hop mode Keep": {router: "10.0.0.254", as: 65001, change: nextHop(v1alpha1.NextHopKeep), want: "[]"},
		"a router behind others":                   {router: "192.0.2.1", as: 65001, want: "[]"},
		"a router that may be behind others":       {router: "10.0.0.254", as: 65001, change: multihop, want: "[]"},
		"a router of the same AS":                  {router: "10.0.0.254", as: 64512, want: "[]"},
		"a router of our AS that is shown another": {router: "10.0.0.254", as: 64512, change: localAS(64513), want: link},
		"a node of another AS":                     {router: "10.0.0.2", as: 65001, want: "[]"},
		"no reflector":                             {noReflector: true, router: "10.0.0.254", as: 65001, want: "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			in := threeNodes()
			if !c.noReflector {
				reflectorNode(&in, 0)
			}
			in.Peers = []v1alpha1.BGPPeer{bgpPeer("p", 1, func(s *v1alpha1.BGPPeerSpec) {
				router(c.router, c.as)(s)
				if c.change != nil {
					c.change(s)
				}
			})}
			p := Make(in)
			if len(p.Sessions) != 1 || len(p.Problems) != 0 {
				t.Fatalf("sessions are %v, problems %v", p.Sessions, p.Problems)
			}
			if got := fmt.Sprint(p.Sessions[0].Link); got != c.want {
				t.Errorf("the link is %s, not %s", got, c.want)
			}
		})
	}
}

// TestLinkBetweenNodes has none on sessions between nodes: they are no routers outside.
func TestLinkBetweenNodes(t *testing.T) {
	in := threeNodes()
	in.Configuration = mesh()
	reflectorNode(&in, 0)
	nodeAS(&in, 1, 65002)
	in.Peers = []v1alpha1.BGPPeer{bgpPeer("c", 1, func(s *v1alpha1.BGPPeerSpec) { s.PeerSelector = labelled("rack=2") })}
	sessions := Make(in).Sessions
	if len(sessions) != 2 {
		t.Fatalf("sessions are %v", sessions)
	}
	for _, s := range sessions {
		if len(s.Link) != 0 {
			t.Errorf("the session with %s has the link %v", s.Peer, s.Link)
		}
	}
}

func nextHop(mode v1alpha1.NextHopMode) func(*v1alpha1.BGPPeerSpec) {
	return func(s *v1alpha1.BGPPeerSpec) { s.NextHopMode = mode }
}

func multihop(s *v1alpha1.BGPPeerSpec) { s.EBGPMultihop = ptr(int32(2)) }

func localAS(as int64) func(*v1alpha1.BGPPeerSpec) {
	return func(s *v1alpha1.BGPPeerSpec) { s.LocalASNumber = &as }
}
