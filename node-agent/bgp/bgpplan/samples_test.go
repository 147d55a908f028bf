package bgpplan

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// sample reads the objects of one of the documented manifests into an input.
func sample(t *testing.T, name string, in *Input) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("../../../config/samples/bgp", name))
	if err != nil {
		t.Fatal(err)
	}
	in.Passwords = Passwords{}
	for _, doc := range bytes.Split(file, []byte("\n---\n")) {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &meta); err != nil {
			t.Fatal(err)
		}
		into := func(v any) {
			if err := yaml.UnmarshalStrict(doc, v); err != nil {
				t.Fatalf("%s: %s: %v", name, meta.Kind, err)
			}
		}
		switch meta.Kind {
		case "BGPConfiguration":
			in.Configuration = &v1alpha1.BGPConfiguration{}
			into(in.Configuration)
		case "BGPPeer":
			in.Peers = append(in.Peers, v1alpha1.BGPPeer{})
			into(&in.Peers[len(in.Peers)-1])
		case "BGPFilter":
			in.Filters = append(in.Filters, v1alpha1.BGPFilter{})
			into(&in.Filters[len(in.Filters)-1])
		case "Service":
			in.Services = append(in.Services, corev1.Service{})
			into(&in.Services[len(in.Services)-1])
		case "Secret":
			var s corev1.Secret
			into(&s)
			for k, v := range s.StringData {
				in.Passwords[s.Name] = map[string]string{k: v}
			}
		default:
			t.Fatalf("%s has a %q", name, meta.Kind)
		}
	}
}

// TestSamples plans the documented set-ups.
func TestSamples(t *testing.T) {
	for _, c := range []struct {
		file  string
		node  string
		setup func(*Input)
		want  []string
	}{
		{"mesh.yaml", "a", nil, []string{"10.0.0.2 AS64512 NodeToNodeMesh change-me", "10.0.9.3 AS64512 NodeToNodeMesh change-me"}},
		{"reflectors.yaml", "a", func(in *Input) {
			for i := range 2 {
				in.NodeNetworks[i].Labels["route-reflector"] = "true"
			}
		}, []string{"10.0.0.2 AS64512 BGPPeer/reflectors", "10.0.9.3 AS64512 BGPPeer/reflectors client"}},
		{"top-of-rack.yaml", "a", func(in *Input) {
			in.NodeNetworks[0].Labels[corev1.LabelTopologyZone] = "rack-1"
		}, []string{"10.0.1.1 AS65001 BGPPeer/rack-1 change-me"}},
		{"anycast.yaml", "a", nil, []string{"10.0.1.1 AS65001 BGPPeer/router-1", "10.0.2.1 AS65001 BGPPeer/router-2"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			in := threeNodes()
			in.Node = c.node
			sample(t, c.file, &in)
			if c.setup != nil {
				c.setup(&in)
			}
			p := Make(in)
			if got := short(p); !slices.Equal(got, c.want) || len(p.Problems) > 0 {
				t.Errorf("sessions are\n%s\nnot\n%s\nproblems: %v", strings.Join(got, "\n"), strings.Join(c.want, "\n"), p.Problems)
			}
		})
	}
}

func TestSampleAnycast(t *testing.T) {
	in := threeNodes()
	sample(t, "anycast.yaml", &in)
	if got := Make(in).Announcements; len(got) != 0 {
		t.Errorf("announced without an endpoint: %v", got)
	}
	ready, node := true, "a"
	in.EndpointSlices = []discoveryv1.EndpointSlice{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "dns"}},
		Endpoints:  []discoveryv1.Endpoint{{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}}
	got := Make(in).Announcements
	if len(got) != 1 || got[0].Prefix.String() != "203.0.113.53/32" || !slices.Equal(got[0].Communities, []string{"64512:53"}) ||
		!slices.Equal(got[0].LargeCommunities, []string{"64512:53:1"}) {
		t.Errorf("announced %+v", got)
	}
}
