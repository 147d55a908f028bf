package cluster

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// liveView returns a view that has gone live, and what it told since.
func liveView() (*View, func() Change) {
	var told Change
	v := NewView("n1", func(c Change) { told |= c })
	v.goLive()
	told = 0
	return v, func() Change {
		defer func() { told = 0 }()
		return told
	}
}

func testPool(change func(*v1alpha1.IPPool)) *v1alpha1.IPPool {
	p := &v1alpha1.IPPool{
		ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", Generation: 1},
		Spec:       v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", Encapsulation: v1alpha1.EncapsulationVXLAN},
		Status:     v1alpha1.IPPoolStatus{ObservedGeneration: 1, Free: 100, Allocated: 5, Encapsulation: v1alpha1.EncapsulationVXLAN},
	}
	if change != nil {
		change(p)
	}
	return p
}

func TestAPoolTellsOnlyWhatSomebodyUses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*v1alpha1.IPPool)
		want   Change
	}{
		{"usage counters", func(p *v1alpha1.IPPool) { p.Status.Free, p.Status.Allocated, p.Status.Blocks = 99, 6, 2 }, PoolCounters},
		{"its version alone", func(p *v1alpha1.IPPool) { p.ResourceVersion = "9" }, PoolCounters},
		{"a namespace has all that it may have", func(p *v1alpha1.IPPool) { p.Status.NamespacesAtLimit = []string{"a"} }, PoolUse},
		{"nothing is free any more", func(p *v1alpha1.IPPool) { p.Status.Free = 0 }, PoolUse},
		{"a condition", func(p *v1alpha1.IPPool) {
			p.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExhausted, Status: metav1.ConditionTrue}}
		}, PoolUse},
		{"it conflicts with the infrastructure", func(p *v1alpha1.IPPool) {
			p.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionConflicting, Status: metav1.ConditionTrue}}
		}, PoolRoutes | PoolUse},
		{"deleted", func(p *v1alpha1.IPPool) { now := metav1.Now(); p.DeletionTimestamp = &now }, PoolUse},
		{"nodes send otherwise", func(p *v1alpha1.IPPool) { p.Status.Encapsulation = v1alpha1.EncapsulationNone }, PoolRoutes},
		{"a new spec", func(p *v1alpha1.IPPool) { p.Generation, p.Spec.NATOutgoing = 2, true }, PoolRoutes | PoolUse},
		{"another pool of that name", func(p *v1alpha1.IPPool) { p.UID = "v" }, PoolRoutes | PoolUse},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, told := liveView()
			h := v.poolHandler()
			h.Set(testPool(nil))
			if got := told(); got != PoolRoutes|PoolUse {
				t.Fatalf("a new pool told %b", got)
			}
			h.Set(testPool(tc.change))
			if got := told(); got != tc.want {
				t.Errorf("told %b, want %b", got, tc.want)
			}
			if got := v.Pools()[0].Object.Status.Free; got != testPool(tc.change).Status.Free {
				t.Errorf("the view still shows %d free", got)
			}
			h.Drop(testPool(nil))
			if got := told(); got != PoolRoutes|PoolUse || len(v.Pools()) != 0 {
				t.Errorf("a pool that is gone told %b, left %d", got, len(v.Pools()))
			}
		})
	}
}

func network(node, address string, change func(*v1alpha1.NodeNetwork)) *v1alpha1.NodeNetwork {
	n := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: node}}
	n.Status.Addresses = []v1alpha1.NodeAddress{{Address: address}}
	if change != nil {
		change(n)
	}
	return n
}

func TestANodesConditionsWakeNobody(t *testing.T) {
	v, told := liveView()
	var own []string
	h := v.networkHandler(Handler[*v1alpha1.NodeNetwork]{Set: func(o *v1alpha1.NodeNetwork) { own = append(own, o.Name) }, Drop: func(*v1alpha1.NodeNetwork) {}})
	h.Set(network("n1", "192.168.0.1", nil))
	h.Set(network("n2", "192.168.0.2", nil))
	if got := told(); got != Addresses {
		t.Fatalf("told %b", got)
	}
	h.Set(network("n2", "192.168.0.2", func(n *v1alpha1.NodeNetwork) {
		n.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse}}
		n.Status.MTU = 9000
	}))
	if got := told(); got != 0 {
		t.Errorf("conditions of another node told %b", got)
	}
	h.Set(network("n2", "192.168.0.3", nil))
	want := []netip.Addr{netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("192.168.0.3")}
	if got := told(); got != Addresses || !slices.Equal(v.NodeNetworks().Addresses, want) {
		t.Errorf("a new address told %b, shows %v", got, v.NodeNetworks().Addresses)
	}
	h.Drop(network("n2", "192.168.0.3", nil))
	if got := told(); got != Addresses || !slices.Equal(v.NodeNetworks().Addresses, want[:1]) {
		t.Errorf("a node that is gone told %b, shows %v", got, v.NodeNetworks().Addresses)
	}
	if !slices.Equal(own, []string{"n1"}) {
		t.Errorf("the own NodeNetwork's handler got %v", own)
	}
}

func block(cidr, node string) *keptBlock { return keep(ipBlock(cidr, node)) }

func ipBlock(cidr, node string) *v1alpha1.IPBlock {
	return &v1alpha1.IPBlock{Spec: v1alpha1.IPBlockSpec{CIDR: cidr, Node: node, Pool: "p", NodeAddresses: []string{"192.168.0.9"}}}
}

// TestALentRangeIsABlockOfWhoHasIt: what another node has of a block is shown as a small block of that node, and goes with the block.
func TestALentRangeIsABlockOfWhoHasIt(t *testing.T) {
	v, told := liveView()
	h := v.blockHandler()
	lent := func(to string, granted bool) *keptBlock {
		b := ipBlock("10.0.0.64/26", "n2")
		b.Spec.Lent = []v1alpha1.Loan{{CIDR: "10.0.0.70/32", Node: to, Granted: granted, ID: "u.2", NodeAddresses: []string{"192.168.0.1"}}}
		return keep(b)
	}
	h.Set(lent("n1", false))
	if got := told(); got != OtherBlocks || len(v.BlocksSince(0).Set) != 1 {
		t.Errorf("a loan that is not granted told %b, shows %v", got, v.BlocksSince(0).Set)
	}
	h.Set(lent("n1", true))
	own := v.OwnBlocks()
	if got := told(); got != OwnBlocks|OtherBlocks || len(own) != 1 || own[0].Loan != "u.2" || own[0].Lender != "n2" || own[0].CIDR.String() != "10.0.0.70/32" {
		t.Errorf("a loan told %b, shows %+v", got, own)
	}
	for address, want := range map[string]string{"10.0.0.70": "n1", "10.0.0.71": "n2", "10.0.0.1": ""} {
		if got := v.NodeWith(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is said to be with %q, not %q", address, got, want)
		}
	}
	h.Set(lent("n3", true))
	if got := told(); got&OwnBlocks == 0 || len(v.OwnBlocks()) != 0 || len(v.BlocksSince(0).Set) != 2 {
		t.Errorf("a loan to another node told %b, shows %v", got, v.BlocksSince(0).Set)
	}
	h.Set(block("10.0.0.64/26", "n2"))
	if told(); len(v.BlocksSince(0).Set) != 1 {
		t.Errorf("after the loan: %v", v.BlocksSince(0).Set)
	}
	h.Set(lent("n1", true))
	h.Drop(block("10.0.0.64/26", "n2"))
	if len(v.BlocksSince(0).Set) != 0 {
		t.Errorf("after the block: %v", v.BlocksSince(0).Set)
	}
}

func TestBlocksTellWhoseTheyAre(t *testing.T) {
	v, told := liveView()
	h := v.blockHandler()
	h.Set(block("10.0.0.0/26", "n1"))
	if got := told(); got != OwnBlocks {
		t.Errorf("an own block told %b", got)
	}
	h.Set(block("10.0.0.64/26", "n2"))
	if got := told(); got != OtherBlocks {
		t.Errorf("another node's block told %b", got)
	}
	h.Set(block("10.0.0.64/26", "n2"))
	if got := told(); got != 0 {
		t.Errorf("the same block again told %b", got)
	}
	first := v.BlocksSince(0).Set
	if len(first) != 2 || len(v.OwnBlocks()) != 1 {
		t.Fatalf("the view shows %v, own %v", first, v.OwnBlocks())
	}
	h.Set(block("10.0.0.64/26", "n1")) // the controller gave it away
	if got := told(); got != OwnBlocks|OtherBlocks || len(v.OwnBlocks()) != 2 {
		t.Errorf("a block that changes hands told %b, own %v", got, v.OwnBlocks())
	}
	h.Drop(block("10.0.0.0/26", "n1"))
	if got := told(); got != OwnBlocks || len(v.BlocksSince(0).Set) != 1 || len(first) != 2 {
		t.Errorf("a block that is gone told %b, shows %v; the earlier list is %v", got, v.BlocksSince(0).Set, first)
	}
	bad := block("nonsense", "n1")
	h.Set(bad)
	h.Drop(bad)
	if got := told(); got != 0 {
		t.Errorf("a block without a CIDR told %b", got)
	}
}

func TestTheNodesHeartbeatTellsNothing(t *testing.T) {
	v, told := liveView()
	h := v.nodeHandler()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u", Labels: map[string]string{"zone": "a"}}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "n1"}, {Type: corev1.NodeInternalIP, Address: "192.168.0.1"}}
	h.Set(node)
	if got := told(); got != OwnNode {
		t.Errorf("the Node told %b", got)
	}
	beat := node.DeepCopy()
	beat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
	h.Set(beat)
	if got := told(); got != 0 {
		t.Errorf("a heartbeat told %b", got)
	}
	cordoned := node.DeepCopy()
	cordoned.Spec.Unschedulable = true
	h.Set(cordoned)
	if n, ok := v.Node(); told() != OwnNode || !ok || !n.Unschedulable || len(n.Addresses) != 1 {
		t.Errorf("a cordoned Node is shown as %+v", n)
	}
	h.Drop(node)
	if _, ok := v.Node(); told() != OwnNode || ok {
		t.Error("a Node that is gone is still shown")
	}
}

func TestOneChangedBlockAmongManyCostsLittle(t *testing.T) {
	v, _ := liveView()
	h := v.blockHandler()
	for i := range 10000 {
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 10), byte(i >> 2), byte(i << 6)}), 26)
		h.Set(block(cidr.String(), "n2"))
	}
	allocations := testing.AllocsPerRun(10, func() {
		h.Set(block("10.200.0.0/26", "n3"))
		h.Drop(block("10.200.0.0/26", "n3"))
	})
	if allocations > 50 {
		t.Errorf("one changed block among 10,000 allocates %v times", allocations)
	}
}

func TestBlocksSinceTellsWhatHasChanged(t *testing.T) {
	v, _ := liveView()
	h := v.blockHandler()
	h.Set(block("10.0.0.0/26", "n1"))
	h.Set(block("10.0.0.64/26", "n2"))
	all := v.BlocksSince(0)
	if !all.Whole || len(all.Set) != 2 {
		t.Fatalf("at first: %+v", all)
	}
	h.Set(block("10.0.0.64/26", "n3"))
	h.Set(block("10.0.0.64/26", "n3")) // nothing new
	h.Drop(block("10.0.0.0/26", "n1"))
	changed := v.BlocksSince(all.Version)
	if changed.Whole || len(changed.Set) != 1 || changed.Set[0].Node != "n3" || len(changed.Gone) != 1 || changed.Gone[0].String() != "10.0.0.0/26" {
		t.Errorf("then: %+v", changed)
	}
	if none := v.BlocksSince(changed.Version); none.Whole || len(none.Set)+len(none.Gone) > 0 {
		t.Errorf("nothing has changed, but %+v", none)
	}
	for i := range keptChanges + 1 {
		h.Set(block("10.0.0.64/26", []string{"n4", "n5"}[i%2]))
	}
	if late := v.BlocksSince(all.Version); !late.Whole || len(late.Set) != 1 {
		t.Errorf("who asks late gets %+v", late)
	}
	v.goLive()
	if again := v.BlocksSince(changed.Version + keptChanges + 1); !again.Whole {
		t.Errorf("after a new list: %+v", again)
	}
}

func TestNodeNetworksNameAddressesAndSubnets(t *testing.T) {
	v, _ := liveView()
	v.setNetwork("n1", []netip.Prefix{netip.MustParsePrefix("192.168.0.1/24")})
	shown := v.NodeNetworks()
	if v.NodeNetworks() != shown {
		t.Error("the same networks are made again")
	}
	if len(shown.Infrastructure) != 2 || shown.Infrastructure[0].What() != "the address 192.168.0.1 of node n1" || shown.Infrastructure[1].What() != "the subnet 192.168.0.0/24 of node n1" {
		t.Errorf("shown %+v", shown.Infrastructure)
	}
}
