package exploration

import (
	"flag"
	"testing"
	"time"
)

var (
	within = flag.Duration("within", 5*time.Second, "how long TestEveryState may take for each size")
	whole  = flag.Bool("whole", false, "let TestAnyController visit every state of three pods with faults")
)

func TestEveryState(t *testing.T) {
	for _, c := range []struct {
		name            string
		crashes, losses int8
		born            []int
	}{
		{"one pod, one crash and one lost answer", 1, 1, []int{0}},
		{"two pods of one node", 0, 0, []int{0, 1}},
		{"a pod of each node", 0, 0, []int{0, 2}},
		{"three pods", 0, 0, []int{0, 1, 2}},
		{"three pods, one crash and one lost answer", 1, 1, []int{0, 1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := (&explorer{}).Explore(start(c.crashes, c.losses, c.born...), *within)
			t.Log(found)
			if found.Broken != "" {
				t.Error(found.Broken)
			}
		})
	}
}

func TestAPlantedMistakeIsFound(t *testing.T) {
	for name, x := range map[string]*explorer{
		"an address is free before its record is gone":           {freeEarly: true},
		"a block is deleted because an earlier one was released": {releaseByCIDR: true, anyController: true},
	} {
		found := x.Explore(start(0, 0, 0, 1), time.Minute)
		t.Logf("%s: %s: %s", name, found, found.Broken)
		if found.Broken == "" {
			t.Errorf("unnoticed: %s", name)
		}
	}
}

// With controllers that may plan whatever they like, all states are visited, however long that takes.
func TestAnyController(t *testing.T) {
	for _, c := range []struct {
		name            string
		crashes, losses int8
		born            []int
		long            bool
	}{
		{"one pod, one crash and one lost answer", 1, 1, []int{0}, false},
		{"two pods of one node", 0, 0, []int{0, 1}, false},
		{"a pod of each node", 0, 0, []int{0, 2}, false},
		{"three pods", 0, 0, []int{0, 1, 2}, false},
		{"three pods, one crash and one lost answer", 1, 1, []int{0, 1, 2}, true},
	} {
		if c.long && !*whole {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			found := (&explorer{anyController: true}).Explore(start(c.crashes, c.losses, c.born...), 0)
			t.Log(found)
			if found.Broken != "" {
				t.Error(found.Broken)
			}
		})
	}
}
