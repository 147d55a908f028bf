// Package monitoring_test checks what is in config/prometheus: promtool reads and tests the rules, every expression of the
// dashboard is one, and the runbook has a section for each alert.
package monitoring_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	config  = "../../config/prometheus/"
	runbook = "../../docs/runbook.md"
)

// rule is an alert of a PrometheusRule.
type rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type group struct {
	Name  string `json:"name"`
	Rules []rule `json:"rules"`
}

// ruleFile is what Prometheus itself reads.
type ruleFile struct {
	Groups []group `json:"groups"`
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func rules(t *testing.T) ruleFile {
	t.Helper()
	var o struct {
		Spec ruleFile `json:"spec"`
	}
	if err := yaml.Unmarshal(read(t, config+"rules.yaml"), &o); err != nil {
		t.Fatal(err)
	}
	if len(o.Spec.Groups) == 0 {
		t.Fatal("there are no rules")
	}
	return o.Spec
}

// promtool runs Prometheus' own tool on a rule file, beside which other files may lie.
func promtool(t *testing.T, f ruleFile, beside map[string][]byte, args ...string) {
	t.Helper()
	dir := t.TempDir()
	text, err := yaml.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"rules.yaml": text}
	for name, content := range beside {
		files[name] = content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "promtool", args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s (it is in Debian's package prometheus; run make deps): %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRules(t *testing.T) {
	tests := read(t, "testdata/rules.test.yaml")
	promtool(t, rules(t), nil, "check", "rules", "rules.yaml")
	promtool(t, rules(t), map[string][]byte{"test.yaml": tests}, "test", "rules", "test.yaml")
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			// Once where all is well, once before and once after its time.
			if n := strings.Count(string(tests), "alertname: "+r.Alert+","); n != 2 {
				t.Errorf("%s is tested %d times while it must be quiet, want 2", r.Alert, n)
			}
			if !strings.Contains(string(tests), "alertname: "+r.Alert+"\n") {
				t.Errorf("no test lets %s fire", r.Alert)
			}
		}
	}
}

var heading = regexp.MustCompile(`(?m)^## (Causeway\w+)$`)

// Whoever is woken by an alert finds a section about it, with commands.
func TestRunbook(t *testing.T) {
	text := string(read(t, runbook))
	var have []string
	sections := heading.FindAllStringSubmatchIndex(text, -1)
	for i, m := range sections {
		end := len(text)
		if i+1 < len(sections) {
			end = sections[i+1][0]
		}
		name := text[m[2]:m[3]]
		have = append(have, name)
		if !strings.Contains(text[m[1]:end], "```\nkubectl ") {
			t.Errorf("the section about %s names no command", name)
		}
	}
	var want []string
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			want = append(want, r.Alert)
			if url := r.Annotations["runbook_url"]; !strings.HasSuffix(url, "docs/runbook.md#"+strings.ToLower(r.Alert)) {
				t.Errorf("%s leads to %s", r.Alert, url)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s lacks a summary, a description or a severity", r.Alert)
			}
		}
	}
	if !slices.Equal(have, want) {
		t.Errorf("the runbook has %v, the alerts are %v", have, want)
	}
}

// Grafana shows nothing for an expression with a mistake, so promtool reads them all, as recording rules.
func TestDashboard(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(read(t, config+"dashboard.json"), &d); err != nil {
		t.Fatal(err)
	}
	g := group{Name: "dashboard"}
	for i, p := range d.Panels {
		for j, target := range p.Targets {
			g.Rules = append(g.Rules, rule{Record: fmt.Sprintf("panel_%d_%d", i, j), Expr: strings.ReplaceAll(target.Expr, "$node", "node1")})
		}
	}
	if len(g.Rules) < len(d.Panels) || len(d.Panels) == 0 {
		t.Errorf("%d panels have %d expressions", len(d.Panels), len(g.Rules))
	}
	promtool(t, ruleFile{Groups: []group{g}}, nil, "check", "rules", "rules.yaml")
}
