package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// row is one measured value beside its target. judged rows say whether the target was met.
type row struct {
	what, measured, target string
	judged, met            bool
}

type table []row

// note adds a value that has no target.
func (t *table) note(what, format string, values ...any) {
	*t = append(*t, row{what: what, measured: fmt.Sprintf(format, values...)})
}

// judge adds a value that has one.
func (t *table) judge(met bool, what, target, format string, values ...any) {
	*t = append(*t, row{what: what, measured: fmt.Sprintf(format, values...), target: target, judged: true, met: met})
}

func (t table) print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(out, "WHAT\tTARGET\tMET\tMEASURED"); err != nil {
		return err
	}
	for _, r := range t {
		met := ""
		if r.judged {
			met = map[bool]string{true: "yes", false: "NO"}[r.met]
		}
		if _, err := fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", r.what, r.target, met, r.measured); err != nil {
			return err
		}
	}
	return out.Flush()
}

func percentile(series []time.Duration, share float64) time.Duration {
	if len(series) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(series))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func mib(bytes float64) string { return fmt.Sprintf("%.0f MiB", bytes/(1<<20)) }
