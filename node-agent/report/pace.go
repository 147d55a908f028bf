package report

import "time"

// Limits bound how often a Writer writes.
type Limits struct {
	// Gap is the least time between two writes. Changes gather meanwhile.
	Gap time.Duration
	// Burst is the number of writes that only Gap keeps apart. Each Refill allows one more.
	Burst  int
	Refill time.Duration
	// LazyAfter is how long a lazy change waits for others.
	LazyAfter time.Duration
}

// pace is a token bucket with a least distance between tokens.
type pace struct {
	limits Limits
	tokens float64
	filled time.Time // when tokens was right
	rest   time.Time // the end of the gap after the last write
}

// next returns when a write is allowed.
func (p *pace) next(now time.Time) time.Time {
	p.fill(now)
	next := p.rest
	if p.tokens < 1 {
		missing := time.Duration((1 - p.tokens) * float64(p.limits.Refill))
		if full := now.Add(missing + time.Millisecond); full.After(next) {
			next = full
		}
	}
	return next
}

// take uses a token. The gap after it is longer by extra.
func (p *pace) take(now time.Time, extra time.Duration) {
	p.fill(now)
	p.tokens--
	p.rest = now.Add(p.limits.Gap + extra)
}

func (p *pace) fill(now time.Time) {
	if !p.filled.IsZero() && p.limits.Refill > 0 {
		p.tokens += float64(now.Sub(p.filled)) / float64(p.limits.Refill)
	}
	p.tokens = min(p.tokens, float64(p.limits.Burst))
	p.filled = now
}
