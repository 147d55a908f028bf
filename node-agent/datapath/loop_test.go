package datapath

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

func TestAChangedBlockReachesTheKernelAlone(t *testing.T) {
	f := node()
	run(t, f, func(l *Loop) {
		f.expectRoute(t, "at first", "10.0.1.0/26", "10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202")
		f.expectRoute(t, "at first", "10.0.0.1/32", "10.0.0.1 dev "+pod+" proto 202 scope link")
		if f.shrunk[pod] != 1500 {
			t.Errorf("pods' MTUs: %v", f.shrunk)
		}
		before := f.kernel.Calls()
		f.setBlock(testBlock("10.0.2.0/26", "c", "192.168.0.3"))
		l.Wake()
		settled(2 * apiSettle)
		f.expectRoute(t, "a new block", "10.0.2.0/26", "10.0.2.0/26 via 192.168.0.3 dev eth0 proto 202")
		f.locked(func() {
			delete(f.blocks, pfx("10.0.1.0/26"))
			f.log = append(f.log, pfx("10.0.1.0/26"))
		})
		l.Wake()
		settled(2 * apiSettle)
		f.expectRoute(t, "a block that is gone", "10.0.1.0/26", "")
		after := f.kernel.Calls()
		if after.Observes != before.Observes || after.Applies != before.Applies || after.Changes != before.Changes+2 || after.Objects != before.Objects+4 {
			t.Errorf("two changed blocks cost %+v, before %+v", after, before) // each a route and the filter's set of nodes
		}
	})
}

func TestNothingChangedCostsTheKernelNothing(t *testing.T) {
	f := node()
	run(t, f, func(l *Loop) {
		calls := f.kernel.Calls()
		_, reports := f.last()
		l.Wake()
		settled(2 * apiSettle)
		if _, now := f.last(); f.kernel.Calls() != calls || now != reports {
			t.Errorf("calls %+v, before %+v; %d reports, before %d", f.kernel.Calls(), calls, now, reports)
		}
	})
}

// TestOneRefusedObjectStopsNothingElse has a foreign route in the way of one block.
func TestOneRefusedObjectStopsNothingElse(t *testing.T) {
	f := node()
	f.pools = append(f.pools, testPool("q", "10.9.0.0/16", v1alpha1.EncapsulationVXLAN))
	f.kernel.Refuse(func(object string) error {
		if strings.HasPrefix(object, "add route 10.0.1.0/26") {
			return errors.New("file exists")
		}
		return nil
	})
	run(t, f, func(l *Loop) {
		s, _ := f.last()
		if len(s.Refused) != 1 || len(s.Pools) != 1 || s.Pools[0].Route.Name != "q" {
			t.Fatalf("refused %v, pools that are shown in full %v", s.Refused, s.Pools)
		}
		c := s.Conditions()
		if c[0].Status != "False" || c[1].Type != v1alpha1.ConditionRoutesApplied || c[1].Status != "False" ||
			!strings.Contains(c[1].Message, "add route 10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202: file exists") {
			t.Errorf("conditions %+v", c[:2])
		}
		w, shown := l.Window()
		if text := w.String(); !shown || !strings.Contains(text, "10.0.1.0/26 via 192.168.0.2") || !strings.Contains(text, "the kernel refuses: add route 10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202: file exists") {
			t.Errorf("the window shows\n%s", text)
		}
		before := f.kernel.Calls()
		f.locked(func() {
			f.changes = []plan.LearnedRoute{{Prefix: pfx("203.0.113.0/24"), NextHops: []netip.Addr{addr("192.168.0.9")}}}
		})
		l.WakeLearned()
		synctest.Wait()
		f.expectRoute(t, "learned at once", "203.0.113.0/24", "203.0.113.0/24 via 192.168.0.9 dev eth0 proto 203")
		settled(10 * time.Minute)
		if tries := f.kernel.Calls().Applies - before.Applies; tries < 10 || tries > 30 {
			t.Errorf("%d whole passes in ten minutes", tries)
		}
		if len(f.errors) != 1 {
			t.Errorf("logged %q", f.errors)
		}
		f.kernel.Refuse(nil)
		f.kernel.RemoveRoute(pfx("10.0.1.0/26")) // the event that tells that what was in the way is gone
		settled(2 * kernelSettle)
		s, _ = f.last()
		if len(s.Refused) != 0 || len(s.Pools) != 2 || s.Conditions()[0].Status != "True" {
			t.Errorf("the last state is %+v", s)
		}
	})
}

func TestABusyKernelIsNoFailure(t *testing.T) {
	f := node()
	run(t, f, func(*Loop) {
		before := f.kernel.Calls()
		f.kernel.Busy(3)
		f.kernel.RemoveRoute(pfx("10.0.1.0/26"))
		settled(time.Second)
		f.expectRoute(t, "afterwards", "10.0.1.0/26", "10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202")
		if looks := f.kernel.Calls().Observes - before.Observes; looks != 4 || len(f.errors) > 0 {
			t.Errorf("%d looks, logged %q", looks, f.errors)
		}
	})
}

// TestResyncLooksAtEverything has one timer: what is known from events alone is believed for no longer than it says.
func TestResyncLooksAtEverything(t *testing.T) {
	f := node()
	run(t, f, func(*Loop) {
		before := f.kernel.Calls()
		f.kernel.RemoveRoute(pfx("10.0.1.0/26"))
		settled(2 * kernelSettle)
		f.expectRoute(t, "after an event", "10.0.1.0/26", "10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202")
		now := f.kernel.Calls()
		if now.Everything != before.Everything || now.Observes != before.Observes+1 || f.linksChanged == 0 {
			t.Fatalf("after an event: %+v, before %+v", now, before)
		}
		settled(time.Minute)
		if now := f.kernel.Calls(); now.Everything != before.Everything+1 {
			t.Errorf("after a minute: %+v", now)
		}
	})
}

func TestLearnedRoutesGoAlone(t *testing.T) {
	f := node()
	run(t, f, func(l *Loop) {
		before := f.kernel.Calls()
		_, reports := f.last()
		f.locked(func() {
			f.changes = []plan.LearnedRoute{{Prefix: pfx("203.0.113.0/24"), NextHops: []netip.Addr{addr("192.168.0.9")}}}
		})
		l.WakeLearned()
		synctest.Wait()
		f.expectRoute(t, "at once", "203.0.113.0/24", "203.0.113.0/24 via 192.168.0.9 dev eth0 proto 203")
		if now := f.kernel.Calls(); now.Applies != before.Applies || now.Objects != before.Objects+1 {
			t.Fatalf("%+v, before %+v", now, before)
		}
		settled(lateQuiet + 2*apiSettle)
		s, now := f.last()
		if bgp := s.Routes[len(s.Routes)-1]; now != reports+1 || bgp != (plan.RouteCount{Source: plan.RouteSourceBGP, Protocol: 203, Count: 1}) {
			t.Errorf("%d reports after a quiet second, before %d, with %v", now, reports, s.Routes)
		}
	})
}

func TestPodsComeAndGoWithoutWholePasses(t *testing.T) {
	f := node()
	run(t, f, func(*Loop) {
		before := f.kernel.Calls()
		second := "cw00000000002"
		f.locked(func() { f.endpoints = append(f.endpoints, testEndpoint(second, "10.0.0.2")) })
		for range 30 { // a storm of pods
			f.kernel.Wire(second, podRoute("10.0.0.2", second))
			settled(lateQuiet / 2)
		}
		if looks := f.kernel.Calls().Observes - before.Observes; looks != 1 {
			t.Errorf("%d looks in 15 seconds of new pods", looks)
		}
		if !strings.Contains(f.kernel.String(), "net.ipv4.conf."+second+".proxy_arp = 1") {
			t.Errorf("the new pod's link is not set up:\n%s", f.kernel)
		}
		f.locked(func() { f.endpoints = f.endpoints[:1] })
		f.kernel.Unwire(second)
		settled(lateQuiet + 2*kernelSettle)
		if now := f.kernel.Calls(); now.Applies != before.Applies || len(f.errors) > 0 {
			t.Errorf("%+v, before %+v; logged %q", now, before, f.errors)
		}
	})
}

// TestAPodWithoutALinkIsNoError is a node after a reboot: the book knows pods whose links are gone.
func TestAPodWithoutALinkIsNoError(t *testing.T) {
	f := node()
	f.endpoints = append(f.endpoints, testEndpoint("cw00000000002", "10.0.0.2"))
	run(t, f, func(*Loop) {
		s, _ := f.last()
		if len(f.errors) > 0 || len(s.Refused) > 0 || s.Conditions()[0].Status != "True" {
			t.Errorf("logged %q, state %+v", f.errors, s)
		}
		f.expectRoute(t, "no link", "10.0.0.2/32", "")
	})
}

// TestInfrastructureIsNeverRouted has a pool over the nodes' own network, and one over the Service range.
func TestInfrastructureIsNeverRouted(t *testing.T) {
	f := node()
	f.pools = append(f.pools, testPool("killer", "172.30.0.0/16", v1alpha1.EncapsulationNone), testPool("services", "10.96.0.0/16", v1alpha1.EncapsulationNone))
	for cidr, pool := range map[string]string{"172.30.0.0/26": "killer", "10.96.0.0/26": "services", "10.96.4.0/26": "services"} {
		b := testBlock(cidr, "b", "192.168.0.2")
		b.Pool = pool
		f.setBlock(b)
	}
	run(t, f, func(l *Loop) {
		f.expectRoute(t, "nothing is in the way", "172.30.0.0/26", "172.30.0.0/26 via 192.168.0.2 dev eth0 proto 202")
		f.locked(func() {
			f.services = []infrastructure.Network{infrastructure.ServiceRange(pfx("10.96.0.0/20")), infrastructure.APIServer(addr("172.30.0.2"))}
		})
		l.Wake()
		settled(2 * apiSettle)
		for _, dst := range []string{"172.30.0.0/26", "10.96.0.0/26", "10.96.4.0/26"} {
			f.expectRoute(t, "the API server is there", dst, "")
		}
		f.expectRoute(t, "the rest", "10.0.1.0/26", "10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202")
		s, _ := f.last()
		for _, c := range s.Conditions() {
			switch c.Type {
			case v1alpha1.ConditionConflicting:
				for _, dst := range []string{"172.30.0.0/26", "10.96.0.0/26", "10.96.4.0/26"} {
					if want := "Block " + dst + " of node b gets no route: it would cover or lie in the "; !strings.Contains(c.Message, want) || c.Status != "True" {
						t.Errorf("no %q in %+v", want, c)
					}
				}
			case v1alpha1.ConditionKernelSupport:
				if c.Status != "True" {
					t.Errorf("%+v", c)
				}
			}
		}
		f.locked(func() { f.services = nil })
		f.kernel.Move(func(o *kernel.Observed) {
			o.Foreign = []infrastructure.Network{infrastructure.LinkNetwork("docker0", pfx("10.0.1.0/24"))}
		})
		settled(2 * kernelSettle)
		f.expectRoute(t, "a foreign link", "10.0.1.0/26", "")
		f.expectRoute(t, "no API server there any more", "172.30.0.0/26", "172.30.0.0/26 via 192.168.0.2 dev eth0 proto 202")
	})
}

func TestAnotherAddressIsTold(t *testing.T) {
	f := node()
	run(t, f, func(*Loop) {
		f.kernel.Move(func(o *kernel.Observed) { o.V4.Address = addr("192.168.0.7") })
		settled(2 * kernelSettle)
		if f.moved != 1 {
			t.Errorf("told %d times", f.moved)
		}
	})
}

func TestAPoolThatChangesIsPlannedAnew(t *testing.T) {
	f := node()
	run(t, f, func(l *Loop) {
		f.locked(func() { f.pools = append(f.pools[:0:0], testPool("p", "10.0.0.0/16", v1alpha1.EncapsulationVXLAN)) })
		l.Wake()
		settled(2 * apiSettle)
		f.expectRoute(t, "VXLAN", "10.0.1.0/26", "10.0.1.0/26 via 10.0.1.0 dev vxlan.cw onlink proto 202")
		if f.shrunk[pod] != 1450 {
			t.Errorf("pods' MTUs: %v", f.shrunk)
		}
		f.locked(func() { f.endpoints[0].State = addressbook.Releasing })
		l.Wake()
		settled(2 * apiSettle)
		f.expectRoute(t, "the pod's link is still there", "10.0.0.1/32", "10.0.0.1 dev "+pod+" proto 202 scope link")
	})
}

// Whoever judges the loop by its turns hears of one at least once in Resync, in a quiet cluster and in one that fails.
func TestTheLoopTellsEachTurn(t *testing.T) {
	for _, refused := range []error{nil, errors.New("file exists")} {
		f := node()
		f.kernel.Refuse(func(string) error { return refused })
		run(t, f, func(*Loop) {
			for range 3 {
				before := 0
				f.locked(func() { before = f.turns })
				settled(time.Minute + time.Second)
				f.locked(func() {
					if f.turns == before {
						t.Errorf("no turn within a minute (the kernel says %v)", refused)
					}
				})
			}
		})
	}
}
