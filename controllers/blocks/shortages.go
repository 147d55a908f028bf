package blocks

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/causeway-net/causeway/controllers/conditions"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// patience is how long a shortage is remembered after the last pod that met it.
const patience = time.Minute

// shortages remembers in which pools pods have waited for a block in vain, and why.
type shortages struct {
	mu    sync.Mutex
	pools map[string]shortage
}

type shortage struct {
	last     time.Time
	sentence string
	nodes    int
}

// exhausted are the pools without a free block.
func exhausted(plan blockplan.Plan) map[string]shortage {
	found := map[string]shortage{}
	for _, s := range plan.Shortages {
		found[s.Pool] = shortage{nodes: len(s.Nodes), sentence: fmt.Sprintf("No block is free for %d waiting pods on %s; all of the pool is given out: add another pool, or delete pods that are not needed.",
			s.Waiting, conditions.Names("node", s.Nodes))}
	}
	return found
}

// limited are the pools of which nodes may have no more blocks.
func limited(plan blockplan.Plan) map[string]shortage {
	found := map[string]shortage{}
	for _, l := range plan.Limits {
		found[l.Pool] = shortage{nodes: len(l.Nodes), sentence: fmt.Sprintf("No more blocks go to %s, where %d pods wait: maxBlocksPerNode lets one node have %d; raise it, let pods run on other nodes, or add another pool.",
			conditions.Names("node", l.Nodes), l.Waiting, l.Most)}
	}
	return found
}

// fullAggregates are the pools with free blocks, but none in the prefixes of some group of nodes.
func fullAggregates(plan blockplan.Plan) map[string]shortage {
	found := map[string]shortage{}
	for _, f := range plan.Full {
		found[f.Pool] = shortage{nodes: len(f.Nodes), sentence: fmt.Sprintf("No more blocks go to %s, where %d pods wait: the prefixes of their group are full, and all others belong to other groups of spec.aggregation. Let pods run elsewhere, choose a longer prefixLength, or add another pool.",
			conditions.Names("node", f.Nodes), f.Waiting)}
	}
	return found
}

// update takes what a plan has found, and which pools have plenty again, and returns the names of the pools that changed. While the
// nodes are as many as before, the sentence stays, so that no pool's status is written for every pod that waits.
func (s *shortages) update(now time.Time, isPool func(string) bool, found map[string]shortage, ample []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pools == nil {
		s.pools = map[string]shortage{}
	}
	var changed []string
	for name, short := range found {
		have, known := s.pools[name]
		if !known || have.nodes < short.nodes {
			have = short
			changed = append(changed, name)
		}
		have.last = now
		s.pools[name] = have
	}
	for name, have := range s.pools {
		if !isPool(name) || slices.Contains(ample, name) || now.Sub(have.last) >= patience {
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

// of returns why pods wait for a block of a pool, or nothing, and on how many nodes.
func (s *shortages) of(pool string) (sentence string, nodes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pools[pool].sentence, s.pools[pool].nodes
}

// names returns the pools that are short.
func (s *shortages) names() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]bool{}
	for name := range s.pools {
		out[name] = true
	}
	return out
}
