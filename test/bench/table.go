package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// row is one measured value beside its target.
type row struct{ what, ours, reference, ratio, target string }

type table []row

func (t table) print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines := append(table{{"MEASURED", "CAUSEWAY", "PTP+HOST-LOCAL", "RATIO", "TARGET"}}, t...)
	for _, r := range lines {
		if _, err := fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", r.what, r.ours, r.reference, r.ratio, r.target); err != nil {
			return err
		}
	}
	return out.Flush()
}

// compare returns rows for the middle and the slowest hundredth of two series.
func compare(what string, ours, reference []time.Duration, target string) table {
	var out table
	for _, p := range []struct {
		name  string
		share float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		a, b := percentile(ours, p.share), percentile(reference, p.share)
		r := row{what + ", " + p.name, milliseconds(a), milliseconds(b), fmt.Sprintf("%.2f", float64(a)/float64(b)), ""}
		if p.name == "p50" {
			r.target = target
		}
		out = append(out, r)
	}
	return out
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
