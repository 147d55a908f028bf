package blocks

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/causeway-net/causeway/controllers/conditions"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// patience is how long a pool stays exhausted after the last pod that it had no block for.
const patience = time.Minute

// shortages remembers which pools are exhausted, and why.
type shortages struct {
	mu    sync.Mutex
	pools map[string]shortage
}

type shortage struct {
	last     time.Time
	sentence string
}

// update takes a plan's findings and returns the names of the pools that changed.
func (s *shortages) update(now time.Time, isPool func(string) bool, plan blockplan.Plan) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pools == nil {
		s.pools = map[string]shortage{}
	}
	var changed []string
	for _, short := range plan.Shortages {
		have, known := s.pools[short.Pool]
		have.last = now
		if !known {
			have.sentence = fmt.Sprintf("No block is free for %d waiting pods on %s; all of the pool is given out: add another pool, or delete pods that are not needed.",
				short.Waiting, conditions.Names("node", short.Nodes))
			changed = append(changed, short.Pool)
		}
		s.pools[short.Pool] = have
	}
	ample := map[string]bool{}
	for _, name := range plan.Ample {
		ample[name] = true
	}
	for name, have := range s.pools {
		if !isPool(name) || ample[name] || now.Sub(have.last) >= patience {
			delete(s.pools, name)
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	return changed
}

// adopt takes over a shortage that an earlier leader wrote into a pool's status.
func (s *shortages) adopt(pool, sentence string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pools == nil {
		s.pools = map[string]shortage{}
	}
	if _, known := s.pools[pool]; !known {
		s.pools[pool] = shortage{last: now, sentence: sentence}
	}
}

// sentence returns why a pool is exhausted, or nothing.
func (s *shortages) sentence(pool string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pools[pool].sentence
}

// names returns the exhausted pools.
func (s *shortages) names() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]bool{}
	for name := range s.pools {
		out[name] = true
	}
	return out
}
