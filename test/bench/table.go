package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// row is one measured value beside what it is compared with, and its target.
type row struct{ what, ours, reference, ratio, target string }

type table []row

func (t table) print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines := append(table{{"MEASURED", "CAUSEWAY", "COMPARED WITH", "RATIO", "TARGET"}}, t...)
	for _, r := range lines {
		if _, err := fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", r.what, r.ours, r.reference, r.ratio, r.target); err != nil {
			return err
		}
	}
	return out.Flush()
}

func (b *bench) add(r row) {
	b.table = append(b.table, r)
	if b.verbose {
		fmt.Fprintf(os.Stderr, "%s: %s, %s, %s\n", r.what, r.ours, r.reference, r.ratio)
	}
}

// compare adds a row for the middle of two series.
func (b *bench) compare(what, with string, ours, reference []time.Duration) {
	b.compareWith(what+", p50", with, percentile(ours, 0.5), percentile(reference, 0.5), targets[what+": "+with])
}

func (b *bench) compareWith(what, with string, ours, reference time.Duration, target string) {
	b.add(row{what, milliseconds(ours), with + " " + milliseconds(reference), fmt.Sprintf("%.2f", float64(ours)/float64(reference)), target})
}

func percentile(series []time.Duration, share float64) time.Duration {
	if len(series) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(series))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
}
