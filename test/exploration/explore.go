package exploration

import (
	"fmt"
	"hash/maphash"
	"strings"
	"time"
)

// explorer visits states, those first that fewer steps lead to.
type explorer struct {
	planner    planner
	bookkeeper bookkeeper
	// freeEarly plants a mistake: an agent that frees an address before its record is gone. releaseByCIDR plants another: a controller
	// that takes a block for released because an earlier one of its CIDR was.
	freeEarly, releaseByCIDR bool
	// anyController replaces the two controllers by any number of them, which plan whatever they like.
	anyController bool
}

// Found is what an exploration found.
type Found struct {
	// States is how many there are, Steps how many ways lead from one to another, Depth how many steps the farthest is away.
	States, Steps, Depth int
	// Ends is how many states there are in which nothing can happen any more.
	Ends int
	// Whole is false where the time was up before all were visited.
	Whole bool
	// Broken says what is wrong in the first state that breaks an invariant, and shows that state; empty if none does.
	Broken string
}

// visited is a set of states by their hash. Two states with one hash would be taken for one: with 64 bits and ten million states
// the chance is one in 370,000.
type visited map[uint64]struct{}

// Explore visits all states from the first one on, until one breaks an invariant or the time is up; 0 stands for as much as it takes.
func (x *explorer) Explore(from State, within time.Duration) Found {
	x.planner, x.bookkeeper = planner{}, bookkeeper{}
	seed, known, deadline := maphash.MakeSeed(), visited{}, time.Now().Add(within)
	found := Found{Whole: true}
	layer := []State{from}
	known[maphash.Comparable(seed, from)] = struct{}{}
	for ; len(layer) > 0; found.Depth++ {
		var next []State
		for i := range layer {
			found.States++
			ways := 0
			x.successors(layer[i], func(s State) {
				s.canonical()
				ways++
				hash := maphash.Comparable(seed, s)
				if _, old := known[hash]; old {
					return
				}
				known[hash] = struct{}{}
				next = append(next, s)
				if what := s.broken(); what != "" && found.Broken == "" {
					found.Broken = fmt.Sprintf("after %d steps %s: %+v", found.Depth+1, what, s)
				}
			})
			found.Steps += ways
			if ways == 0 {
				found.Ends++
				if what := layer[i].leftOver(); what != "" && found.Broken == "" {
					found.Broken = fmt.Sprintf("after %d steps nothing happens any more, but %s", found.Depth, what)
				}
			}
			if found.Broken != "" {
				return found
			}
			if i%1024 == 0 && within > 0 && time.Now().After(deadline) {
				found.Whole = false
				return found
			}
		}
		layer = next
	}
	return found
}

// String returns the counts as people read them.
func (f Found) String() string {
	var out strings.Builder
	_, _ = fmt.Fprintf(&out, "%d states, %d steps between them, depth %d, %d ends", f.States, f.Steps, f.Depth, f.Ends)
	if !f.Whole {
		out.WriteString(", and the time was up")
	}
	return out.String()
}
