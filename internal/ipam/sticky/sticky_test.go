package sticky

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func TestSplit(t *testing.T) {
	for pod, want := range map[string]struct {
		set     string
		ordinal int
		ok      bool
	}{
		"db-0": {"db", 0, true}, "my-db-12": {"my-db", 12, true}, "db-01": {}, "db": {}, "-1": {}, "db-x": {}, "db-": {}, "db--1": {"db-", 1, true},
		"db-4294967296": {}, "web-7d9f8b6c5d-x2x4z": {},
	} {
		if set, ordinal, ok := Split(pod); set != want.set || ordinal != want.ordinal || ok != want.ok {
			t.Errorf("%s: %q, %d, %v", pod, set, ordinal, ok)
		}
	}
}

func TestSetOf(t *testing.T) {
	o := &appsv1.StatefulSet{}
	o.UID = "u"
	if got := SetOf(o); got != (Set{UID: "u", Replicas: 1}) {
		t.Errorf("what Kubernetes sets by default: %+v", got)
	}
	three := int32(3)
	o.Spec.Replicas, o.Spec.Ordinals = &three, &appsv1.StatefulSetOrdinals{Start: 5}
	o.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
	if got := SetOf(o); got != (Set{UID: "u", First: 5, Replicas: 3, Forgets: true}) {
		t.Errorf("%+v", got)
	}
}

func TestReadAndSpec(t *testing.T) {
	m := Memory{Set: "db", SetUID: "u", Addresses: []Address{four, six}}
	o := &v1alpha1.StickyAddress{Spec: m.Spec()}
	if got := Read(o); !got.Equal(m) {
		t.Errorf("%+v", got)
	}
	o.Spec.Addresses = []string{"nonsense", "fd00::5", "10.0.0.9"}
	if got := Read(o).Addresses; !slices.Equal(got, []Address{six}) {
		t.Errorf("of what the API would not admit: %+v", got)
	}
}

func address(text, pool string) Address { return Address{Addr: netip.MustParseAddr(text), Pool: pool} }

var (
	four, six  = address("10.0.0.5", "four"), address("fd00::5", "six")
	otherFour  = address("10.0.0.9", "four")
	plainFour  = address("10.9.0.5", "plain")
	never      = func(netip.Addr) bool { return false }
	always     = func(netip.Addr) bool { return true }
	nowhere    = func(netip.Addr) string { return "" }
	three      = &Set{UID: "u", Replicas: 3}
	remembered = &Memory{Set: "db", SetUID: "u", Addresses: []Address{four, six}}
)

func poolsWith(change func(map[string]Pool)) map[string]Pool {
	out := map[string]Pool{
		"four": {CIDR: netip.MustParsePrefix("10.0.0.0/24"), Sticky: true}, "six": {CIDR: netip.MustParsePrefix("fd00::/64"), Sticky: true},
		"plain": {CIDR: netip.MustParsePrefix("10.9.0.0/16")},
	}
	if change != nil {
		change(out)
	}
	return out
}

func record(addresses ...Address) []Record { return []Record{{Node: "n", Addresses: addresses}} }

func stuck(a netip.Addr) string {
	if a == six.Addr {
		return "it is stuck"
	}
	return ""
}

func TestDecide(t *testing.T) {
	both := []Address{four, six}
	exhausted := poolsWith(func(p map[string]Pool) { p["four"] = Pool{CIDR: p["four"].CIDR, Sticky: true, Exhausted: true} })
	for name, c := range map[string]struct {
		facts Facts
		want  []Address
		proof bool
		lost  []string // parts of the reasons
	}{
		"nothing at all":                       {facts: Facts{Set: three}},
		"no StatefulSet":                       {facts: Facts{Memory: remembered, Records: record(four)}},
		"the pod starts for the first time":    {facts: Facts{Set: three, Records: record(four, six)}, want: both, proof: true},
		"in an order that is not ours":         {facts: Facts{Set: three, Records: record(six, four)}, want: both, proof: true},
		"in one sticky pool of two":            {facts: Facts{Set: three, Records: record(plainFour, six)}, want: []Address{six}, proof: true},
		"in a pool that remembers nothing":     {facts: Facts{Set: three, Records: record(plainFour)}},
		"it runs":                              {facts: Facts{Set: three, Memory: remembered, Records: record(four, six)}, want: both},
		"it is away":                           {facts: Facts{Set: three, Memory: remembered}, want: both},
		"it moves, and has two records":        {facts: Facts{Set: three, Memory: remembered, Records: append(record(four, six), record(otherFour)...)}, want: both},
		"two records, nothing remembered":      {facts: Facts{Set: three, Records: append(record(four), record(otherFour)...)}},
		"the StatefulSet was made again":       {facts: Facts{Set: &Set{UID: "v", Replicas: 3}, Memory: remembered}},
		"made again around a pod that runs":    {facts: Facts{Set: &Set{UID: "v", Replicas: 3}, Memory: remembered, Records: record(four)}, want: []Address{four}, proof: true},
		"it has another address now":           {facts: Facts{Set: three, Memory: remembered, Records: record(otherFour, six)}, want: []Address{otherFour, six}, proof: true, lost: []string{"the pod has 10.0.0.9 now"}},
		"it moved to a pool without memory":    {facts: Facts{Set: three, Memory: remembered, Records: record(plainFour, six)}, want: []Address{six}, proof: true, lost: []string{"the pod has 10.9.0.5 now"}},
		"it runs without IPv6 for a while":     {facts: Facts{Set: three, Memory: remembered, Records: record(four)}, want: both},
		"another pod has an address":           {facts: Facts{Set: three, Memory: remembered, Taken: func(a netip.Addr) bool { return a == four.Addr }}, want: []Address{six}, lost: []string{"another pod has the address"}},
		"it can't travel":                      {facts: Facts{Set: three, Memory: remembered, Stuck: stuck}, want: []Address{four}, lost: []string{"it is stuck"}},
		"its own record is no other pod":       {facts: Facts{Set: three, Memory: remembered, Records: record(four, six), Taken: always, Stuck: stuck}, want: both},
		"a pool is gone":                       {facts: Facts{Set: three, Memory: remembered, Pools: poolsWith(func(p map[string]Pool) { delete(p, "six") })}, want: []Address{four}, lost: []string{"IPPool six is gone"}},
		"a pool of that name has another CIDR": {facts: Facts{Set: three, Memory: remembered, Pools: poolsWith(func(p map[string]Pool) { p["four"] = Pool{CIDR: p["plain"].CIDR, Sticky: true} })}, want: []Address{six}, lost: []string{"IPPool four is gone"}},
		"a pool is not sticky any more":        {facts: Facts{Set: three, Memory: remembered, Pools: poolsWith(func(p map[string]Pool) { p["six"] = Pool{CIDR: p["six"].CIDR} })}, want: []Address{four}, lost: []string{"IPPool six is not sticky"}},
		"scaled down":                          {facts: Facts{Set: three, Ordinal: 3, Memory: remembered}, want: both},
		"scaled down to nothing":               {facts: Facts{Set: &Set{UID: "u"}, Memory: remembered}, want: both},
		"below the first ordinal":              {facts: Facts{Set: &Set{UID: "u", First: 5, Replicas: 3, Forgets: true}, Ordinal: 4, Memory: remembered}, lost: []string{"scaled down", "scaled down"}},
		"the last one":                         {facts: Facts{Set: &Set{UID: "u", First: 5, Replicas: 3, Forgets: true}, Ordinal: 7, Memory: remembered}, want: both},
		"scaled down, and its volumes go":      {facts: Facts{Set: &Set{UID: "u", Replicas: 3, Forgets: true}, Ordinal: 3, Memory: remembered}, lost: []string{"persistentVolumeClaimRetentionPolicy", "scaled down"}},
		"scaled down, but still there":         {facts: Facts{Set: &Set{UID: "u", Replicas: 3, Forgets: true}, Ordinal: 3, Memory: remembered, Records: record(four, six)}, want: both},
		"scaled down, and pods wait":           {facts: Facts{Set: three, Ordinal: 3, Memory: remembered, Pools: exhausted}, want: []Address{six}, lost: []string{"IPPool four has no free address"}},
		"pods wait, but it is expected back":   {facts: Facts{Set: three, Ordinal: 2, Memory: remembered, Pools: exhausted}, want: both},
	} {
		f := c.facts
		f.Name = "db"
		if f.Pools == nil {
			f.Pools = poolsWith(nil)
		}
		if f.Taken == nil {
			f.Taken = never
		}
		if f.Stuck == nil {
			f.Stuck = nowhere
		}
		got := Decide(f)
		var addresses []Address
		if got.Memory != nil {
			addresses = got.Memory.Addresses
			if got.Memory.Set != "db" || got.Memory.SetUID != f.Set.UID {
				t.Errorf("%s: it is remembered for %+v", name, got.Memory)
			}
		}
		if !slices.Equal(addresses, c.want) || got.Proof != c.proof || len(got.Lost) != len(c.lost) {
			t.Errorf("%s: %+v, proof %v, lost %+v", name, addresses, got.Proof, got.Lost)
			continue
		}
		for i, part := range c.lost {
			if !strings.Contains(got.Lost[i].Reason, part) {
				t.Errorf("%s: %q lacks %q", name, got.Lost[i].Reason, part)
			}
		}
	}
}
