package records_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

// in runs a test of the world in a bubble of synctest, and ends the agent that runs last.
func in(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(nil)
		test(t, w)
		w.kill()
	})
}

// after lets time go by, and all that happens then.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// addSteps and delSteps are the steps at which an agent can be killed.
var (
	addSteps = []string{
		"add: begin", "add: reserved", "wire: link made", "add: wired", "add: established", "record: before create", "record: after create",
	}
	delSteps = []string{
		"del: begin", "del: marked", "del: end", "record: before delete", "record: after delete", "reap: begin", "reap: links gone",
	}
)

// way is how an agent comes back after it was killed.
type way struct {
	name string
	away bool // the API server is away when the next agent starts, and comes back a minute later
	old  bool // the checkpoint is from before the call
}

var ways = []way{{name: "at once"}, {name: "without the API server", away: true}, {name: "without the API server, old checkpoint", away: true, old: true}}

// again starts the next agent in one of the ways.
func (w *world) again(how way, before []addressbook.Endpoint) {
	saved := w.kill()
	if how.old {
		saved = before
	}
	w.set(func() { w.away, w.die = how.away, "" })
	w.start(saved)
}

// back brings the API server back.
func (w *world) back() { w.set(func() { w.away = false }) }

func TestKilledAtEveryStepOfAdd(t *testing.T) {
	for _, how := range ways {
		for _, step := range addSteps {
			t.Run(how.name+"/"+step, func(t *testing.T) {
				in(t, func(t *testing.T, w *world) {
					w.must("ADD", "other")
					after(time.Second)
					before := w.agent.book.Endpoints()
					w.set(func() { w.die = step })
					w.namespace("a")
					_, answered := w.call("ADD", "a")
					after(time.Second)
					w.again(how, before)
					w.must("ADD", "b") // another pod must not get the address
					if !answered {
						w.must("DEL", "a") // a runtime takes a sandbox away that failed
						w.remove("a")
					}
					after(time.Minute)
					w.back()
					after(5 * time.Minute)
					want := []string{"b", "other"}
					if answered {
						want = []string{"a", "b", "other"}
					}
					w.check("at the end", want...)
				})
			})
		}
	}
}

func TestKilledAtEveryStepOfDel(t *testing.T) {
	for _, how := range ways {
		for _, step := range delSteps {
			for _, gone := range []bool{false, true} { // the runtime removes the namespace right after DEL
				name := how.name + "/" + step
				if gone {
					name += "/namespace gone"
				}
				t.Run(name, func(t *testing.T) {
					in(t, func(t *testing.T, w *world) {
						w.must("ADD", "a")
						w.must("ADD", "other")
						after(time.Second)
						before := w.agent.book.Endpoints()
						w.set(func() { w.die = step })
						_, answered := w.call("DEL", "a")
						if gone && answered {
							w.remove("a")
						}
						after(time.Second)
						w.again(how, before)
						if !answered {
							w.must("DEL", "a")
							w.remove("a")
						}
						w.must("ADD", "b")
						after(time.Minute)
						w.back()
						after(5 * time.Minute)
						w.check("at the end", "b", "other")
					})
				})
			}
		}
	}
}

// The agent is killed before the record of a pod with a fixed hardware address is there, or after somebody has deleted it.
func TestAFixedHardwareAddressIsRemembered(t *testing.T) {
	const fixed = "02:00:5e:10:00:01"
	for _, how := range ways {
		for _, recorded := range []bool{false, true} {
			in(t, func(t *testing.T, w *world) {
				before := w.agent.book.Endpoints()
				w.set(func() { w.args, w.away = ";MAC="+fixed, !recorded })
				w.must("ADD", "a")
				after(time.Minute)
				w.set(func() { clear(w.records) })
				w.again(how, before)
				after(time.Minute)
				w.back()
				after(5 * time.Minute)
				w.check("at the end", "a")
				for _, r := range w.records {
					if r.Spec.MAC != fixed {
						t.Errorf("%s, recorded before: %t: the record says %q", how.name, recorded, r.Spec.MAC)
					}
				}
			})
		}
	}
}

// The API server is away for ten minutes while pods come and go; the agent is killed in the middle of it.
func TestTenMinutesWithoutTheAPIServer(t *testing.T) {
	for _, killed := range []bool{false, true} {
		in(t, func(t *testing.T, w *world) {
			w.must("ADD", "early")
			after(time.Second)
			w.set(func() { w.away = true })
			w.must("ADD", "a")
			for range 20 {
				w.must("ADD", "short")
				after(15 * time.Second)
				w.must("DEL", "short")
				if killed {
					w.again(way{away: true}, nil)
				}
				after(15 * time.Second)
			}
			w.must("DEL", "early")
			w.remove("early")
			after(time.Second)
			writes := w.writes
			w.back()
			after(20 * time.Second) // the longest pause between two tries, and the recall
			w.check("20 seconds after the API server is back", "a")
			if got := w.writes - writes; got > 3 {
				t.Errorf("killed %v: %d writes for one pod that came and one that went", killed, got)
			}
		})
	}
}

// The API server comes back so soon after a pod's start that a cache might not show its record yet. The record is written as soon
// as that is sure, not with the next slow comparison.
func TestAYoungPodWithoutARecordIsNotForgotten(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.set(func() { w.away = true })
		w.must("ADD", "a")
		w.again(way{away: true}, nil)
		after(3 * time.Second)
		w.back()
		after(12 * time.Second)
		w.check("15 seconds after the pod's start", "a")
	})
}

// A record that is refused for good: the pod runs, people are told, and the record follows when it is let in.
func TestRefusedRecordsAreTold(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.set(func() { w.refuse = quota() })
		w.must("ADD", "a")
		after(10 * time.Minute)
		if got := w.agent.refused; len(got) != 1 || got[0].Endpoint.ContainerID != "a" || got[0].Removal {
			t.Fatalf("told of %+v", got)
		}
		w.must("ADD", "b")
		w.must("DEL", "b")
		after(time.Minute)
		if got := w.agent.refused; len(got) != 1 {
			t.Errorf("a pod that is gone is still reported: %+v", got)
		}
		w.again(way{}, nil) // the link alone tells of the pod
		after(time.Minute)
		if got := w.agent.refused; len(got) != 1 {
			t.Errorf("after a restart told of %+v", got)
		}
		w.set(func() { w.refuse = nil })
		after(5 * time.Minute)
		if got := w.agent.refused; len(got) != 0 {
			t.Errorf("still told of %+v", got)
		}
		w.check("once it is let in", "a")
	})
}

// ADD, DEL, ADD of the same container before the first write is done.
func TestAddDelAddBeforeTheFirstWrite(t *testing.T) {
	for name, begin := range map[string]func(w *world){
		"slow API server": func(w *world) { w.latency = time.Second },
		"no API server":   func(w *world) { w.away = true },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.set(func() { begin(w) })
				w.must("ADD", "a")
				w.must("DEL", "a")
				w.must("ADD", "a")
				after(time.Minute)
				w.set(func() { w.latency, w.away = 0, false })
				after(time.Minute)
				w.check("at the end", "a")
				w.must("DEL", "a")
				after(time.Minute)
				w.check("after DEL")
			})
		})
	}
}

// A create whose answer got lost lands after the delete that followed it.
func TestARecordThatLandsLateGoes(t *testing.T) {
	for name, next := range map[string]func(w *world){
		"nothing follows":             func(*world) {},
		"another pod has the address": func(w *world) { w.must("ADD", "b"); w.must("ADD", "c"); w.must("ADD", "d") },
		"the agent restarts":          func(w *world) { w.again(way{}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.set(func() { w.latency = time.Minute })
				w.must("ADD", "a")
				after(time.Second)
				w.must("DEL", "a")
				w.remove("a")
				after(20 * time.Second)
				w.set(func() { w.latency = 0 })
				next(w)
				after(time.Minute)
				if !w.landed["pod-a"] {
					t.Error("the late record has not landed")
				}
				after(5 * time.Minute)
				got := w.settled()
				if slices.Contains(got, "a") || len(w.wrong) > 0 {
					t.Errorf("pods %v, %v", got, w.wrong)
				}
			})
		})
	}
}

// A block vanishes while only pods without records are inside: the node still claims it, so nobody else gets it.
func TestABlockWithoutRecordsIsStillClaimed(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.set(func() { w.away = true })
		w.must("ADD", "a")
		held := func() bool {
			shares, _ := w.agent.book.Shares()
			return slices.Contains(shares[0].Held, blockOfTests.CIDR)
		}
		w.agent.book.SetBlocks(nil)
		if !held() {
			t.Error("the block is not claimed any more while a pod is inside")
		}
		w.again(way{away: true}, nil)
		w.agent.book.SetBlocks(nil)
		if !held() {
			t.Error("after a restart the block is not claimed any more")
		}
		w.must("DEL", "a")
		w.back()
		after(time.Minute)
		w.agent.book.SetBlocks(nil) // The ledger does so at every turn.
		if held() {
			t.Error("the block is claimed though nothing is inside")
		}
	})
}

// A record deleted by somebody while its pod runs is written again; one of a pod that nobody knows goes.
func TestRecordsAndPodsAreBroughtTogether(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.must("ADD", "a")
		after(time.Second)
		record := w.copies()[0]
		if err := w.agent.Delete(t.Context(), record.Namespace, record.Name, ""); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		w.check("after its record was deleted", "a")
		w.must("DEL", "a")
		after(time.Second)
		if err := w.create(record.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		after(10 * time.Second)
		w.check("after a record of a pod that is gone came")
	})
}

// A link that vanishes is made again, and one whose namespace is gone too gives its address back.
func TestLinksAreMendedOrLetGo(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.must("ADD", "a")
		w.must("ADD", "b")
		after(time.Second)
		w.remove("b")
		w.set(func() { clear(w.links) })
		w.agent.keeper.LinksChanged()
		after(time.Minute)
		w.check("after a minute", "a")
	})
}

// A pod whose namespace is still there but whose link can't be made again keeps its address until the pod is deleted.
func TestAPodThatCannotBeMendedIsLetGoOnceDeleted(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.must("ADD", "a")
		after(time.Second)
		w.set(func() { clear(w.links); w.stuck = true })
		w.agent.keeper.LinksChanged()
		after(10 * time.Minute)
		if got := w.agent.book.Endpoints(); len(got) != 1 || got[0].State != addressbook.Ready {
			t.Fatalf("while the pod is there the book has %+v", got)
		}
		w.set(func() { w.deleted = map[string]bool{"pod-a": true} })
		after(2 * time.Minute)
		w.check("after the pod was deleted")
	})
}
