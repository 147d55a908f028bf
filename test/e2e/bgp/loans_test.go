package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// bothFamilies is a BIRD for the router on the nodes' link. It forwards by what it hears, and tells the upstream.
const bothFamilies = `
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
protocol bgp nodes4 { local as 65001; neighbor range 172.30.1.0/24 as 64512; dynamic name "four"; ipv4 { import all; export none; }; }
protocol bgp nodes6 { local as 65001; neighbor range fd00:30:1::/64 as 64512; dynamic name "six"; ipv6 { import all; export none; }; }
protocol bgp above4 { local 172.30.9.1 as 65001; neighbor 172.30.9.2 as 65009; ipv4 { import none; export where source = RTS_BGP; }; }
protocol bgp above6 { local fd00:30:9::1 as 65001; neighbor fd00:30:9::2 as 65009; ipv6 { import none; export where source = RTS_BGP; }; }
`

// upstreamOfBoth is a BIRD on the outside.
const upstreamOfBoth = `
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
protocol bgp router4 { local 172.30.9.2 as 65009; neighbor 172.30.9.1 as 65001; ipv4 { import all; export none; }; }
protocol bgp router6 { local fd00:30:9::2 as 65009; neighbor fd00:30:9::1 as 65001; ipv6 { import all; export none; }; }
`

// loans is a cluster of three nodes with a pool of two blocks, so that one node has to borrow.
type loans struct {
	*lab.Lab
	router, above *bird
	family        family
	// rich have a block each, poor has none.
	rich []*lab.Node
	poor *lab.Node
}

// family is a pool of two blocks of 8 addresses in an address family.
type family struct {
	name, pool string
	flag       string // of ip(8)
	block      int32
	own        func(*lab.Node) netip.Addr
	of         func(*lab.Pod) netip.Addr
}

var families = []family{
	{"IPv4", "10.79.0.0/28", "-4", 29, func(n *lab.Node) netip.Addr { return n.V4 }, (*lab.Pod).V4},
	{"IPv6", "fd00:79::/124", "-6", 125, func(n *lab.Node) netip.Addr { return n.V6 }, (*lab.Pod).V6},
}

// TestLoansOverBGP: what a node has of another node's block, a range or a travelling address, is known to routers outside as long as the node has it, and
// packets from there arrive. With a mesh, each node tells the router; with a reflector, it alone does.
func TestLoansOverBGP(t *testing.T) {
	l := &loans{Lab: lab.Start(t, lab.Options{Nodes: 3, Subnets: 1, AgentArgs: []string{"--block-linger=1s"}})}
	l.router = startBird(t, l.Lab, l.Command, "172.30.0.1", bothFamilies)
	l.above = startBird(t, l.Lab, l.Outside.Command, "172.30.9.2", upstreamOfBoth)
	config := configuration()
	config.Spec.NodeToNodeMesh.Enabled = true
	l.Create(t, config)
	l.Create(t, peer("router-4", "172.30.1.1", 65001, nil))
	l.Create(t, peer("router-6", "fd00:30:1::1", 65001, nil))
	awaitSessions(t, l.Lab, "NodeToNodeMesh", 2, 2, 2)
	awaitSessions(t, l.Lab, "BGPPeer/router-4", 1, 1, 1)
	awaitSessions(t, l.Lab, "BGPPeer/router-6", 1, 1, 1)
	if !t.Run("mesh", l.inBothFamilies) {
		return
	}
	l.reflect(t)
	t.Run("reflector", l.inBothFamilies)
}

// reflect makes the first node a reflector, and the only one that the router has sessions with.
func (l *loans) reflect(t *testing.T) {
	t.Helper()
	reflector := &metav1.LabelSelector{MatchLabels: map[string]string{"route-reflector": "true"}}
	edit(t, l.Lab, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: l.Nodes[0].Name}}, func(n *corev1.Node) { n.Labels["route-reflector"] = "true" })
	edit(t, l.Lab, configuration(), func(c *v1alpha1.BGPConfiguration) {
		c.Spec.Nodes = []v1alpha1.BGPNodeSettings{{NodeSelector: reflector, RouteReflectorClusterID: "224.0.0.1"}}
		c.Spec.NodeToNodeMesh.Enabled = false
	})
	l.Create(t, &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "reflectors"}, Spec: v1alpha1.BGPPeerSpec{PeerSelector: reflector}})
	for _, name := range []string{"router-4", "router-6"} {
		edit(t, l.Lab, peer(name, "", 0, nil), func(p *v1alpha1.BGPPeer) { p.Spec.NodeSelector = reflector })
	}
	awaitSessions(t, l.Lab, "BGPPeer/reflectors", 2, 1, 1)
	awaitSessions(t, l.Lab, "NodeToNodeMesh", 0, 0, 0)
	awaitSessions(t, l.Lab, "BGPPeer/router-4", 1, 0, 0)
	awaitSessions(t, l.Lab, "BGPPeer/router-6", 1, 0, 0)
}

func (l *loans) inBothFamilies(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l.family = f
			p := pool("small", f.pool)
			p.Spec.BlockSize, p.Spec.FixedAddresses = &f.block, v1alpha1.FixedAddressesAllowed
			l.Create(t, p)
			l.findOwners(t)
			l.ranges(t)
			l.travels(t)
			if err := l.Client.Delete(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			l.Eventually(t, lab.Settle, "the pool goes", func() error {
				if err := l.Object(t.Context(), "small", &v1alpha1.IPPool{}); !apierrors.IsNotFound(err) {
					return fmt.Errorf("it is there (%w)", err)
				}
				return nil
			})
			l.awaitUpstream(t)
		})
	}
}

func (l *loans) blocks(t *testing.T) []v1alpha1.IPBlock {
	t.Helper()
	var list v1alpha1.IPBlockList
	if err := l.Client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// findOwners waits until the two blocks are given out, and known to the upstream.
func (l *loans) findOwners(t *testing.T) {
	t.Helper()
	l.Eventually(t, lab.Settle, "both blocks are given out", func() error {
		if n := len(l.blocks(t)); n != 2 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	l.rich, l.poor = nil, nil
	for _, n := range l.Nodes {
		if slices.ContainsFunc(l.blocks(t), func(b v1alpha1.IPBlock) bool { return b.Spec.Node == n.Name }) {
			l.rich = append(l.rich, n)
		} else {
			l.poor = n
		}
	}
	if len(l.rich) != 2 {
		t.Fatalf("%d nodes have the two blocks", len(l.rich))
	}
	l.awaitUpstream(t)
}

// awaitUpstream waits until the upstream has the blocks and what is lent of them, and nothing else.
func (l *loans) awaitUpstream(t *testing.T) {
	t.Helper()
	l.Eventually(t, lab.Settle, "the upstream has blocks and loans", func() error {
		var want []string
		for _, b := range l.blocks(t) {
			want = append(want, b.Spec.CIDR)
			for _, loan := range b.Spec.Lent {
				want = append(want, loan.CIDR)
			}
		}
		slices.Sort(want)
		has, err := l.above.prefixes()
		if err == nil && !slices.Equal(has, want) {
			err = fmt.Errorf("it has %v, want %v", has, want)
		}
		return err
	})
}

// reached waits until packets from the outside and from the other nodes' pods get to pods on a node, and checks that all of them know
// the way by BGP.
func (l *loans) reached(t *testing.T, at *lab.Node, dst string, pods ...*lab.Pod) {
	t.Helper()
	l.Eventually(t, lab.Settle, "the router sends "+dst+" to "+at.Name, func() error {
		out, err := l.Command(t.Context(), "ip", l.family.flag, "route", "show", "exact", dst).CombinedOutput()
		if err != nil || !strings.Contains(out, fmt.Sprintf("via %s dev sub-1 proto bird", l.family.own(at))) {
			return fmt.Errorf("it has %q (%w)", out, err)
		}
		return nil
	})
	for _, n := range l.Nodes {
		if n != at {
			l.awaitWay(t, n, dst, fmt.Sprintf("via %s dev eth0 proto 203", l.family.own(at)))
		}
	}
	l.Eventually(t, lab.Settle, "the outside reaches the pods of "+at.Name, func() error {
		var errs []error
		for _, p := range pods {
			errs = append(errs, lab.Ping(t.Context(), l.Outside, l.family.of(p)))
		}
		return errors.Join(errs...)
	})
}

// awaitWay waits until `ip route` of a node says this about a destination of either family.
func (l *loans) awaitWay(t *testing.T, n *lab.Node, dst, want string) {
	t.Helper()
	l.Eventually(t, lab.Settle, fmt.Sprintf("%s has the route %q for %s", n.Name, want, dst), func() error {
		out, err := n.Run(t.Context(), "ip", l.family.flag, "route", "show", "exact", dst)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("ip route shows %q", out)
		}
		return err
	})
}

// ranges starts pods on the node without a block, and ends them.
func (l *loans) ranges(t *testing.T) {
	pods := []*lab.Pod{}
	for i := range 5 {
		p, err := l.StartPod(t.Context(), l.poor, fmt.Sprintf("default/poor-%d", i), lab.PodOptions{NoObject: true})
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	lent := map[string][]*lab.Pod{}
	for _, b := range l.blocks(t) {
		for _, loan := range b.Spec.Lent {
			if loan.Node != l.poor.Name || !loan.Granted {
				t.Errorf("%s lends %+v", b.Spec.CIDR, loan)
			}
			for _, p := range pods {
				if netip.MustParsePrefix(loan.CIDR).Contains(l.family.of(p)) {
					lent[loan.CIDR] = append(lent[loan.CIDR], p)
				}
			}
		}
	}
	l.awaitUpstream(t)
	for cidr, there := range lent {
		l.reached(t, l.poor, cidr, there...)
	}
	l.AwaitMatrix(t, pods)
	for _, p := range pods {
		if err := l.StopPod(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	l.awaitNothingLent(t)
}

func (l *loans) awaitNothingLent(t *testing.T) {
	t.Helper()
	l.Eventually(t, lab.Settle, "what was lent comes back", func() error {
		for _, b := range l.blocks(t) {
			if len(b.Spec.Lent) > 0 {
				return fmt.Errorf("%s: %+v", b.Spec.CIDR, b.Spec.Lent)
			}
		}
		return nil
	})
	l.awaitUpstream(t)
}

// travels starts a pod with an address of its own on one node after the other.
func (l *loans) travels(t *testing.T) {
	var lender *lab.Node
	var address netip.Addr
	for _, b := range l.blocks(t) {
		if b.Spec.Node == l.rich[0].Name {
			lender, address = l.rich[0], netip.MustParsePrefix(b.Spec.CIDR).Addr().Next().Next()
		}
	}
	alone := netip.PrefixFrom(address, address.BitLen()).String()
	for _, at := range []*lab.Node{lender, l.poor, l.rich[1], l.poor, lender} {
		p, err := l.StartPod(t.Context(), at, "default/db-0", lab.PodOptions{Annotations: map[string]string{v1alpha1.AnnotationIPs: address.String()}})
		if err != nil {
			t.Fatal(err)
		}
		if at != lender {
			l.reached(t, at, alone, p)
		} else {
			l.awaitNothingLent(t)
			l.Eventually(t, lab.Settle, "the outside reaches the pod at home", func() error { return lab.Ping(t.Context(), l.Outside, address) })
		}
		if err := l.StopPod(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	l.awaitNothingLent(t)
}
