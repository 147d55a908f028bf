package conformance

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// Results are what became of the tests that were selected, by their names, sorted. Skipped are those that found the cluster
// unfit for them, each with its reason.
type Results struct{ Passed, Failed, Skipped []string }

// String says how many tests have passed, and which have not.
func (r Results) String() string {
	var b strings.Builder
	for _, name := range r.Failed {
		fmt.Fprintf(&b, "FAILED  %s\n", name)
	}
	for _, name := range r.Skipped {
		fmt.Fprintf(&b, "SKIPPED %s\n", name)
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped", len(r.Passed), len(r.Failed), len(r.Skipped))
	return b.String()
}

// parse reads a report in JUnit's format. What is no test of Kubernetes, such as ginkgo's own set-up, counts if it fails.
func parse(text []byte) (Results, error) {
	var report struct {
		Cases []struct {
			Name    string `xml:"name,attr"`
			Status  string `xml:"status,attr"`
			Skipped *struct {
				Message string `xml:"message,attr"`
			} `xml:"skipped"`
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(text, &report); err != nil {
		return Results{}, fmt.Errorf("read the tests' report: %w", err)
	}
	var r Results
	for _, c := range report.Cases {
		switch failed := c.Failure != nil || c.Error != nil; {
		case failed:
			r.Failed = append(r.Failed, c.Name)
		case c.Skipped != nil: // Those that were not selected give no reason.
			if _, reason, ok := strings.Cut(c.Skipped.Message, "skipped - "); ok {
				r.Skipped = append(r.Skipped, c.Name+": "+reason)
			}
		case strings.HasPrefix(c.Name, "[It]"):
			r.Passed = append(r.Passed, c.Name)
		}
	}
	slices.Sort(r.Passed)
	slices.Sort(r.Failed)
	slices.Sort(r.Skipped)
	return r, nil
}
