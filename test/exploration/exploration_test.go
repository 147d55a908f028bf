package exploration

import (
	"flag"
	"testing"
	"time"
)

var within = flag.Duration("within", 5*time.Second, "how long TestEveryState may take for each size")

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
	found := (&explorer{freeEarly: true}).Explore(start(0, 0, 0, 1), time.Minute)
	t.Log(found, found.Broken)
	if found.Broken == "" {
		t.Error("an address that is free before its record is gone goes unnoticed")
	}
}
