package bgpplan

import (
	"encoding/json"
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// FuzzMake mutates the objects that users write, past what the API server lets in.
func FuzzMake(f *testing.F) {
	seed := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	spec := v1alpha1.BGPPeerSpec{}
	router("192.0.2.1", 65001)(&spec)
	spec.Filters, spec.HoldTime = []string{"f"}, &metav1.Duration{Duration: 3e9}
	selecting := v1alpha1.BGPPeerSpec{PeerSelector: labelled("rack=1"), ReachableBy: "::1", TTLSecurity: ptr(int32(300))}
	config := mesh().Spec
	config.PrefixAdvertisements = []v1alpha1.PrefixAdvertisement{{CIDR: "10.0.0.0/8", Communities: []v1alpha1.Community{"1:2"}}}
	config.ServiceClusterIPs = []v1alpha1.ServiceCIDR{{CIDR: "10.96.0.0/12"}}
	filter := v1alpha1.BGPFilterSpec{ExportV6: []v1alpha1.BGPFilterRule{{
		Action: "Accept", CIDR: "fd00::/8", MatchOperator: "NotEqual", PrefixLength: &v1alpha1.PrefixLength{Min: ptr(int32(9))},
		Operations: []v1alpha1.BGPFilterOperation{{PrependASPath: []int64{1, 2}}},
	}}}
	node := nodeNetwork("a", []string{"10.0.0.1/24", "2001:db8::1/64"}, "rack=1")
	f.Add(seed(config), seed(spec), seed(filter), seed(node))
	f.Add(seed(config), seed(selecting), seed(filter), seed(node))
	f.Fuzz(func(t *testing.T, config, peer, filter, node []byte) {
		in := threeNodes()
		in.Configuration = &v1alpha1.BGPConfiguration{}
		in.Peers, in.Filters = make([]v1alpha1.BGPPeer, 2), make([]v1alpha1.BGPFilter, 1)
		in.Filters[0].Name = "f"
		_ = json.Unmarshal(config, &in.Configuration.Spec)
		_ = json.Unmarshal(peer, &in.Peers[0].Spec)
		in.Peers[1] = bgpPeer("selecting", 1, func(s *v1alpha1.BGPPeerSpec) { s.PeerSelector = labelled("rack=1"); s.Filters = []string{"f"} })
		_ = json.Unmarshal(filter, &in.Filters[0].Spec)
		_ = json.Unmarshal(node, &in.NodeNetworks[0])
		p := Make(in)
		if !reflect.DeepEqual(p, Make(in)) {
			t.Error("the same input gives another plan")
		}
		if p.Global.AS == 0 || !p.Global.RouterID.Is4() {
			t.Errorf("a plan without AS number or router id: %+v", p.Global)
		}
		for i, s := range p.Sessions {
			if !s.Peer.IsValid() || s.PeerAS == 0 || s.LocalAS == 0 || s.Port == 0 || i > 0 && !p.Sessions[i-1].Peer.Less(s.Peer) {
				t.Errorf("session %+v", s)
			}
		}
	})
}
