// Package bgp_test tests BGP in a whole cluster: sessions asked for by API objects, real BIRDs as routers, and pods that
// are reached by what was learned.
package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// edit changes an object, again if somebody else did so in between.
func edit[T client.Object](t *testing.T, l *lab.Lab, o T, change func(T)) {
	t.Helper()
	l.Eventually(t, lab.Settle, "change "+o.GetName(), func() error {
		if err := l.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		change(o)
		return l.Client.Update(t.Context(), o)
	})
}

func pool(name, cidr string) *v1alpha1.IPPool {
	return &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.IPPoolSpec{CIDR: cidr, Encapsulation: v1alpha1.EncapsulationNone}}
}

func configuration() *v1alpha1.BGPConfiguration {
	return &v1alpha1.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.BGPConfigurationSpec{ASNumber: 64512, ListenPort: 179}}
}

func mesh(t *testing.T, l *lab.Lab, on bool) {
	t.Helper()
	edit(t, l, configuration(), func(c *v1alpha1.BGPConfiguration) { c.Spec.NodeToNodeMesh.Enabled = on })
}

// peer is a session with a router.
func peer(name, ip string, as int64, change func(*v1alpha1.BGPPeerSpec)) *v1alpha1.BGPPeer {
	p := &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.BGPPeerSpec{PeerIP: ip, ASNumber: &as}}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

// traffic pings at 100/s between pods until it is stopped; nothing may be lost.
func traffic(t *testing.T, from, to *lab.Pod) (stop func(what string)) {
	t.Helper()
	return lab.Pings(t, from, to.V4())
}

// sessions returns a node's established sessions: peer to "source since".
func sessions(t *testing.T, l *lab.Lab, node *lab.Node, source string) (map[string]string, error) {
	t.Helper()
	var state v1alpha1.BGPNodeState
	if err := client.IgnoreNotFound(l.Object(t.Context(), node.Name, &state)); err != nil {
		return nil, err
	}
	up := map[string]string{}
	var down []error
	for _, s := range state.Status.Sessions {
		switch {
		case s.Source != source:
		case s.State != "Established" || s.Since == nil:
			down = append(down, fmt.Errorf("%s has %+v", node.Name, s))
		default:
			up[s.Peer] = s.Source + " since " + s.Since.String()
		}
	}
	return up, errors.Join(down...)
}

// awaitSessions waits until each node has as many sessions of a source, all of them established.
func awaitSessions(t *testing.T, l *lab.Lab, source string, counts ...int) {
	t.Helper()
	l.Eventually(t, lab.Settle, fmt.Sprintf("sessions of %s are established: %v", source, counts), func() error {
		var wrong []error
		for i, n := range l.Nodes {
			up, err := sessions(t, l, n, source)
			if err != nil || len(up) != counts[i] {
				wrong = append(wrong, fmt.Errorf("%s has %v (%v)", n.Name, up, err))
			}
		}
		return errors.Join(wrong...)
	})
}

// blockOf returns the block that a pod's address is in.
func blockOf(t *testing.T, l *lab.Lab, p *lab.Pod) string {
	t.Helper()
	var blocks v1alpha1.IPBlockList
	if err := l.Client.List(t.Context(), &blocks); err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks.Items {
		if netip.MustParsePrefix(b.Spec.CIDR).Contains(p.V4()) {
			return b.Spec.CIDR
		}
	}
	t.Fatalf("no block has %s", p.V4())
	return ""
}

// awaitRoute waits until `ip route` of a node says this about a destination, or nothing if want is empty.
func awaitRoute(t *testing.T, l *lab.Lab, node *lab.Node, dst, want string) {
	t.Helper()
	l.Eventually(t, lab.Settle, fmt.Sprintf("%s has the route %q for %s", node.Name, want, dst), func() error {
		out, err := node.Run(t.Context(), "ip", "route", "show", "exact", dst)
		if err != nil {
			return err
		}
		if (want == "") != (strings.TrimSpace(out) == "") || !strings.Contains(out, want) {
			return fmt.Errorf("ip route shows %q", out)
		}
		return nil
	})
}
