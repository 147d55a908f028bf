package nodes

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOnlyOurOwnTimeCounts: agents whose clocks are a minute behind or ahead, or days, live and die like all others.
func TestOnlyOurOwnTimeCounts(t *testing.T) {
	for name, skew := range map[string]time.Duration{"right": 0, "behind": -time.Minute, "ahead": time.Minute, "days behind": -72 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1_000_000, 0)
			p := NewPulse(func() time.Time { return now }, time.Hour)
			renew := func() {
				seconds, at := int32(40), metav1.NewMicroTime(now.Add(skew))
				p.Observe("n", &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &at, LeaseDurationSeconds: &seconds}})
			}
			if p.Live("n") {
				t.Error("alive before its lease was seen")
			}
			renew()
			for range 10 {
				now = now.Add(39 * time.Second)
				if !p.Live("n") {
					t.Fatal("dead although it renews its lease in time")
				}
				renew()
			}
			now = now.Add(41 * time.Second)
			if p.Live("n") {
				t.Error("alive long after its last renewal")
			}
			renew()
			if !p.Live("n") || p.Joining("n") {
				t.Error("it is back, and not new")
			}
			p.Forget("n")
			if p.Live("n") {
				t.Error("alive without a lease")
			}
		})
	}
}

func TestALeaseSeenAgainIsNoRenewal(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	p := NewPulse(func() time.Time { return now }, 40*time.Second)
	at := metav1.NewMicroTime(now)
	l := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &at}}
	for range 5 { // relists, and changes of its labels
		p.Observe("n", l)
		now = now.Add(10 * time.Second)
	}
	if p.Live("n") {
		t.Error("alive though nobody renewed its lease for 50 seconds")
	}
	if !p.Joining("n") {
		t.Error("heard of first 50 seconds ago, but not new")
	}
}
