package pools

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

func facts(spec, status v1alpha1.Encapsulation, generation int64, nodes ...Node) Facts {
	size := int32(26)
	object := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: generation}}
	object.Spec = v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/24", BlockSize: &size, Encapsulation: spec}
	object.Status.Encapsulation = status
	return Facts{Object: object, Summary: blockplan.Summary{Blocks: 2, Allocated: 3}, Nodes: nodes, Now: metav1.NewTime(time.Unix(1000, 0))}
}

func silent(f Facts, n int) Facts {
	f.Silent = n
	return f
}

func says(name string, able []v1alpha1.Encapsulation, generation int64, sends v1alpha1.Encapsulation) Node {
	return Node{Name: name, Encapsulations: able, ObservedGeneration: generation, Sends: sends}
}

func TestModeChange(t *testing.T) {
	const none, ipip, vxlan = v1alpha1.EncapsulationNone, v1alpha1.EncapsulationIPIP, v1alpha1.EncapsulationVXLAN
	all := []v1alpha1.Encapsulation{none, ipip, vxlan}
	noIPIP := []v1alpha1.Encapsulation{none, vxlan}
	for _, c := range []struct {
		name    string
		facts   Facts
		sends   v1alpha1.Encapsulation
		ready   string
		message string
		support metav1.ConditionStatus
	}{
		{"no nodes yet", facts(vxlan, "", 1), vxlan, "True NoNodes", "no nodes yet", "True"},
		{"phase 1: one has not prepared", facts(ipip, vxlan, 4, says("n1", all, 4, vxlan), says("n2", all, 3, vxlan)),
			vxlan, "False NodesPending", "0 of 2 nodes have rendered generation 4; waiting for node n2.", "True"},
		{"phase 2: all may send", facts(ipip, vxlan, 4, says("n1", all, 4, vxlan), says("n2", all, 4, vxlan)),
			ipip, "False NodesPending", "0 of 2", "True"},
		{"phase 2: one sends", facts(ipip, ipip, 4, says("n1", all, 4, ipip), says("n2", all, 4, vxlan)),
			ipip, "False NodesPending", "1 of 2 nodes have rendered generation 4; waiting for node n2.", "True"},
		{"arrived", facts(ipip, ipip, 4, says("n1", all, 4, ipip), says("n2", all, 5, ipip)),
			ipip, "True AllNodesReady", "2 of 2 nodes have rendered generation 4.", "True"},
		{"a kernel that can't holds nobody up", facts(ipip, vxlan, 4, says("n1", all, 4, ipip), says("n2", noIPIP, 4, vxlan)),
			ipip, "False KernelSupport", "module ipip is missing on node n2", "False"},
		{"unless its agent has not said so", facts(ipip, vxlan, 4, says("n1", all, 4, vxlan), says("n2", noIPIP, 3, vxlan)),
			vxlan, "False NodesPending", "waiting for node n2", "False"},
		{"no agent lives: nothing flips", silent(facts(ipip, vxlan, 4), 3), vxlan, "False NoLiveAgents", "No agent of the 3 nodes", "True"},
		{"a new node comes in the middle", facts(ipip, ipip, 4, says("n1", all, 4, ipip), says("n2", nil, 0, "")),
			ipip, "False NodesPending", "waiting for node n2", "True"},
		{"changed again before all arrived", facts(none, ipip, 5, says("n1", all, 4, ipip), says("n2", all, 5, vxlan)),
			ipip, "False NodesPending", "0 of 2", "True"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Compute(c.facts)
			r := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
			k := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionKernelSupport)
			if got := fmt.Sprintf("%s %s", r.Status, r.Reason); s.Encapsulation != c.sends || got != c.ready || !strings.Contains(r.Message, c.message) || k.Status != c.support {
				t.Errorf("encapsulation %s, %s %q, support %s; want %s, %s %q, %s", s.Encapsulation, got, r.Message, k.Status, c.sends, c.ready, c.message, c.support)
			}
		})
	}
}

func TestModeOfAPoolWithoutBlocks(t *testing.T) {
	f := facts(v1alpha1.EncapsulationIPIP, v1alpha1.EncapsulationVXLAN, 2, Node{Name: "n1", ObservedGeneration: 1})
	f.Blocks, f.Allocated = 0, 0
	if s := Compute(f); s.Encapsulation != v1alpha1.EncapsulationIPIP {
		t.Errorf("encapsulation %s", s.Encapsulation)
	}
}

func TestNumbersAndConditions(t *testing.T) {
	f := facts(v1alpha1.EncapsulationNone, "", 1)
	f.Older = []string{"b"}
	f.Object.Spec.Disabled = true
	f.Object.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	f.Exhausted = "Full."
	s := Compute(f)
	if s.Capacity != 252 || s.Allocated != 3 || s.Free != 249 || s.Blocks != 2 {
		t.Errorf("%+v", s)
	}
	if s.Conditions[0].Type != v1alpha1.ConditionReady {
		t.Error("Ready is not first")
	}
	for _, kind := range []string{v1alpha1.ConditionOverlapping, v1alpha1.ConditionDisabled, v1alpha1.ConditionTerminating, v1alpha1.ConditionExhausted} {
		if !meta.IsStatusConditionTrue(s.Conditions, kind) {
			t.Errorf("%s is not True", kind)
		}
	}
	for _, c := range s.Conditions {
		if c.ObservedGeneration != 1 || !strings.HasSuffix(c.Message, ".") {
			t.Errorf("%+v", c)
		}
	}
	if h := Happened(nil, s.Conditions, v1alpha1.ConditionOverlapping); len(h) != 1 {
		t.Errorf("%v", h)
	}
	// The same facts later give the same status: nothing is written for nothing.
	f.Object.Status = s
	f.Now = metav1.NewTime(time.Unix(2000, 0))
	if again := Compute(f); !equality.Semantic.DeepEqual(again, s) {
		t.Errorf("%+v differs from %+v", again, s)
	}
}

// TestReadyDoesNotFlapWhileNodesJoin: a node that has just come takes Ready away from no pool that had it, but from one that did not.
func TestReadyDoesNotFlapWhileNodesJoin(t *testing.T) {
	const vxlan = v1alpha1.EncapsulationVXLAN
	f := facts(vxlan, vxlan, 1, says("n1", nil, 1, vxlan))
	newcomer := Node{Name: "n2", Joining: true}
	step := func(change func(), status metav1.ConditionStatus, reason string) {
		t.Helper()
		change()
		f.Object.Status = Compute(f)
		c := meta.FindStatusCondition(f.Object.Status.Conditions, v1alpha1.ConditionReady)
		if c.Status != status || c.Reason != reason {
			t.Errorf("%s %s %q, want %s %s", c.Status, c.Reason, c.Message, status, reason)
		}
	}
	step(func() { f.Nodes = append(f.Nodes, newcomer) }, "False", "NodesPending")
	step(func() { f.Nodes = f.Nodes[:1] }, "True", "AllNodesReady")
	step(func() { f.Nodes = append(f.Nodes, newcomer) }, "True", "NodesJoining")
	step(func() { f.Nodes[1].Joining = false }, "False", "NodesPending")
	step(func() { f.Nodes[1] = says("n2", nil, 1, vxlan) }, "True", "AllNodesReady")
	step(func() { f.Object.Generation, f.Nodes[1] = 2, newcomer }, "False", "NodesPending")
}

// TestReportsOfAnOlderPool: a pool made again under an old name is not Ready from what nodes said of the old one.
func TestReportsOfAnOlderPool(t *testing.T) {
	object := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "new", Generation: 1}}
	claim := &v1alpha1.BlockClaim{}
	for uid, want := range map[string]int64{"old": 0, "": 0, "new": 7} {
		claim.Status.Pools = []v1alpha1.PoolReport{{Pool: "b", PoolUID: "new", ObservedGeneration: 3}, {Pool: "a", PoolUID: uid, ObservedGeneration: 7}}
		if n := nodeOf(object, "n", nil, claim, true); n.ObservedGeneration != want || n.Joining == (want > 0) {
			t.Errorf("report of %q: %+v", uid, n)
		}
	}
}

func TestWhatOnlyAPersonCanChangeIsStalled(t *testing.T) {
	const vxlan = v1alpha1.EncapsulationVXLAN
	bad := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
	for name, c := range map[string]struct {
		change  func(*Facts)
		reason  string
		message string
	}{
		"conflicting, without nodes": {func(f *Facts) {
			f.Nodes, f.Refused = nil, true
			f.Conflicts = []infrastructure.Network{infrastructure.ServiceRange(netip.MustParsePrefix("10.0.0.0/24"))}
		}, "Conflicting", "the Service range 10.0.0.0/24, which the cluster itself needs. It gives nothing out"},
		"conflicting, in use": {func(f *Facts) {
			f.Conflicts = []infrastructure.Network{infrastructure.APIServer(netip.MustParseAddr("10.0.0.9"))}
		}, "Conflicting", "no more blocks that touch these"},
		"overlapping":        {func(f *Facts) { f.Older = []string{"b"} }, "Overlapping", "pool b"},
		"node selector":      {func(f *Facts) { f.Object.Spec.NodeSelector = bad }, "InvalidSelector", "nodeSelector"},
		"namespace selector": {func(f *Facts) { f.Object.Spec.NamespaceSelector = bad }, "InvalidSelector", "namespaceSelector"},
		"kernel":             {func(f *Facts) { f.Nodes[0].Encapsulations = []v1alpha1.Encapsulation{v1alpha1.EncapsulationNone} }, "KernelSupport", "vxlan"},
	} {
		t.Run(name, func(t *testing.T) {
			f := facts(vxlan, vxlan, 1, says("n1", nil, 1, vxlan))
			c.change(&f)
			s := Compute(f)
			stalled := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionStalled)
			if stalled == nil || stalled.Status != "True" || stalled.Reason != c.reason || !strings.Contains(stalled.Message, c.message) ||
				!meta.IsStatusConditionFalse(s.Conditions, v1alpha1.ConditionReady) || meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReconciling) != nil {
				t.Errorf("%+v", s.Conditions)
			}
		})
	}
}

// TestThePaceOfWrites: numbers can wait, decisions can't, and what did not change is never written.
func TestThePaceOfWrites(t *testing.T) {
	p := newPace(10 * time.Second)
	now := time.Unix(1000, 0)
	before := v1alpha1.IPPoolStatus{ObservedGeneration: 1, Allocated: 1}
	ask := func(what string, want time.Duration, change func(*v1alpha1.IPPoolStatus)) {
		t.Helper()
		after := *before.DeepCopy()
		change(&after)
		if got := p.write("a", before, after, now); got != want {
			t.Errorf("%s: wait %s, want %s", what, got, want)
		}
	}
	count := func(s *v1alpha1.IPPoolStatus) { s.Allocated, s.Free = 2, 3 }
	ask("nothing", never, func(*v1alpha1.IPPoolStatus) {})
	ask("the first number", 0, count)
	ask("the next", 10*time.Second, count)
	ask("progress", 2*time.Second, func(s *v1alpha1.IPPoolStatus) { s.NodesReady = 1 })
	ask("an encapsulation", 0, func(s *v1alpha1.IPPoolStatus) { s.Encapsulation = v1alpha1.EncapsulationIPIP })
	ask("a condition", 0, func(s *v1alpha1.IPPoolStatus) { s.Conditions = []metav1.Condition{{Type: "Ready", Status: "True"}} })
	now = now.Add(3 * time.Second)
	ask("progress later", 0, func(s *v1alpha1.IPPoolStatus) { s.NodesReady = 1 })
	ask("numbers after that", 10*time.Second, count)
	p.failed("a")
	ask("after a failure", 0, count)
}

func TestReadableCounts(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1_000_000: "1000000", 1 << 24: ">1M", math.MaxInt64: ">1M"} {
		if got := readable(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestCountersOfReportsChangeNothing(t *testing.T) {
	a := []v1alpha1.PoolReport{{Pool: "a", Free: 1}, {Pool: "b", Free: 1}}
	b := []v1alpha1.PoolReport{{Pool: "a", Free: 9}, {Pool: "b", Free: 9, ObservedGeneration: 2}}
	if got := changedReports(a, b); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%v", got)
	}
	if got := changedReports(nil, a); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// TestNamespacesAtLimit: a namespace that comes to its limit is told at once, one that is below it again after a moment.
func TestNamespacesAtLimit(t *testing.T) {
	f := facts(v1alpha1.EncapsulationNone, v1alpha1.EncapsulationNone, 1)
	at := func(names ...string) v1alpha1.IPPoolStatus {
		f.AtLimit = nil
		for _, name := range names {
			f.AtLimit = append(f.AtLimit, blockplan.NamespaceUse{Namespace: name, Addresses: 3, Most: 2})
		}
		return Compute(f)
	}
	none, one, two := at(), at("a"), at("a", "b")
	if c := meta.FindStatusCondition(one.Conditions, v1alpha1.ConditionNamespacesAtLimit); c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "namespace a (3 of 2)") {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(two.NamespacesAtLimit, []string{"a", "b"}) {
		t.Errorf("%v", two.NamespacesAtLimit)
	}
	start := time.Unix(1000, 0)
	p := newPace(10 * time.Second)
	for _, step := range []struct {
		after        time.Duration
		before, next v1alpha1.IPPoolStatus
		want         time.Duration
	}{
		{0, none, one, 0}, {100 * time.Millisecond, one, two, 0}, {200 * time.Millisecond, two, none, 1900 * time.Millisecond},
		{300 * time.Millisecond, two, two, never}, {2200 * time.Millisecond, two, none, 0},
	} {
		if got := p.write("p", step.before, step.next, start.Add(step.after)); got != step.want {
			t.Errorf("after %s: %s, want %s", step.after, got, step.want)
		}
	}
	many := make([]string, 1200)
	for i := range many {
		many[i] = fmt.Sprintf("n%04d", i)
	}
	if s := at(many...); len(s.NamespacesAtLimit) != maxNamespaces {
		t.Errorf("%d namespaces are named", len(s.NamespacesAtLimit))
	}
}

// A disabled pool counts what is in use, and says when it can be deleted. While addresses come back, only numbers and words change.
func TestADrainedPoolSaysHowFarItIs(t *testing.T) {
	f := facts(v1alpha1.EncapsulationNone, v1alpha1.EncapsulationNone, 1)
	drained := func() *metav1.Condition {
		f.Object.Status = Compute(f)
		return meta.FindStatusCondition(f.Object.Status.Conditions, v1alpha1.ConditionDrained)
	}
	want := func(status metav1.ConditionStatus, text string) {
		t.Helper()
		if c := drained(); c.Status != status || !strings.Contains(c.Message, text) {
			t.Errorf("%+v", c)
		}
	}
	want(metav1.ConditionFalse, "in service")
	f.Object.Spec.Disabled = true
	want(metav1.ConditionFalse, "In use: 3 addresses in 2 blocks;")
	before, pace, now := f.Object.Status, newPace(10*time.Second), time.Unix(1000, 0)
	pace.write("a", v1alpha1.IPPoolStatus{}, before, now)
	f.Allocated, f.Blocks = 1, 1
	want(metav1.ConditionFalse, "In use: 1 address in 1 block;")
	if wait := pace.write("a", before, f.Object.Status, now.Add(time.Second)); wait != 9*time.Second {
		t.Errorf("fewer addresses are written after %v", wait)
	}
	f.Allocated = 0
	want(metav1.ConditionFalse, "about to give back 1 block")
	f.Blocks = 0
	want(metav1.ConditionTrue, "kubectl delete ippool a")
}
