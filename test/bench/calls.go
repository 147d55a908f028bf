package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// turn is how many calls one plugin makes, one after the other, before it is the other's turn.
	turn = 10
	// fewPairs is for a plugin that takes seconds for each call.
	fewPairs = 6
)

// targets of a comparison by its name.
var targets = map[string]string{
	"ADD, with pauses: ptp": "0.50 x", "ADD, back to back: ptp": "0.60 x", "DEL, with pauses: ptp": "0.13 x", "DEL, back to back: ptp": "0.15 x",
	"ADD, with pauses: own p50": "2 x", "links gone after the last DEL": "200 ms", "ADD dual-stack, with pauses: own single-stack": "+ 0.2 ms",
}

// oneByOne compares calls one after the other, first back to back and then with pauses, so that nobody's call pays for what
// the one before has left to do.
func (b *bench) oneByOne(ctx context.Context) error {
	for _, way := range []struct {
		name  string
		pause time.Duration
	}{{"back to back", 0}, {"with pauses", b.pause}} {
		all, err := b.run(ctx, task{
			Name: "one-" + way.name[:4], Count: b.pairs, Batch: turn, Pause: way.pause, Verbs: []string{"ADD", "DEL"},
			Plugins: []plugin{b.ours(warmPool), ptp, bridge, b.ours(warmPool, warmPool6)},
		})
		if err != nil {
			return err
		}
		slow, err := b.run(ctx, task{Name: "dual-" + way.name[:4], Count: fewPairs, Batch: 1, Pause: way.pause, Verbs: []string{"ADD", "DEL"}, Plugins: []plugin{ptpDual}})
		if err != nil {
			return err
		}
		single, dual := all[0], all[3]
		for _, verb := range []string{"ADD", "DEL"} {
			b.compare(verb+", "+way.name, "ptp", single.Calls[verb], all[1].Calls[verb])
			b.compare(verb+", "+way.name, "bridge", single.Calls[verb], all[2].Calls[verb])
			b.compareWith(verb+", "+way.name+", p99", "own p50", percentile(single.Calls[verb], 0.99), percentile(single.Calls[verb], 0.5), targets[verb+", "+way.name+": own p50"])
			b.compare(verb+" dual-stack, "+way.name, "own single-stack", dual.Calls[verb], single.Calls[verb])
			b.compare(verb+" dual-stack, "+way.name, "ptp dual-stack", dual.Calls[verb], slow[0].Calls[verb])
		}
		b.add(row{what: "links gone after the last of " + fmt.Sprint(turn) + " DELs, " + way.name, ours: milliseconds(percentile(single.Gone, 0.5)), target: targets["links gone after the last DEL"]})
	}
	return nil
}

// atOnce compares calls that come together.
func (b *bench) atOnce(ctx context.Context) error {
	both, err := b.run(ctx, task{
		Name: "many", Count: b.rounds * b.parallel, Batch: b.parallel, AtOnce: true, Verbs: []string{"ADD", "DEL"}, Plugins: []plugin{b.ours(warmPool), ptp},
	})
	if err != nil {
		return err
	}
	for _, verb := range []string{"ADD", "DEL"} {
		what := fmt.Sprintf("%s, %d at once", verb, b.parallel)
		b.compare(what, "ptp", both[0].Calls[verb], both[1].Calls[verb])
		b.compare(what+", all of them", "ptp", both[0].Batches[verb], both[1].Batches[verb])
	}
	return nil
}

// cold starts pods at once on a node that has no block of their pool. They stay.
func (b *bench) cold(ctx context.Context) error {
	one, err := b.run(ctx, task{
		Name: "cold", Count: b.pods, Batch: b.pods, AtOnce: true, Verbs: []string{"ADD"}, Plugins: []plugin{b.ours(coldPool)}, KeepNetns: true,
	})
	if err != nil {
		return err
	}
	b.add(row{what: fmt.Sprintf("%d pods at once, no block yet", b.pods), ours: milliseconds(one[0].Batches["ADD"][0]), target: "400 ms"})
	return nil
}

// churning adds and deletes pods as fast as it goes.
func (b *bench) churning(ctx context.Context) error {
	both, err := b.run(ctx, task{
		Name: "churn", Count: b.churn, Batch: b.parallel, AtOnce: true, Together: true, Verbs: []string{"ADD", "DEL"}, Plugins: []plugin{b.ours(warmPool), ptp},
	})
	if err != nil {
		return err
	}
	total := func(t times) (sum time.Duration) {
		for _, verb := range []string{"ADD", "DEL"} {
			for _, d := range t.Batches[verb] {
				sum += d
			}
		}
		return sum
	}
	b.compareWith(fmt.Sprintf("%d ADD and DEL, %d at once", b.churn, b.parallel), "ptp", total(both[0]), total(both[1]), "1.2 s")
	return nil
}
