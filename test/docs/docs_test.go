// Package docs_test keeps the documentation true: links lead somewhere, files, commands, metrics and flags that it names
// exist, and the API server takes every manifest that it shows.
package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

const root = "../.."

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// page is one Markdown file, with its fenced blocks apart.
type page struct {
	path   string // from the repository's root
	prose  string
	blocks []block
}

type block struct{ language, text string }

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

func pages(t *testing.T) []page {
	t.Helper()
	var out []page
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := page{path: strings.TrimPrefix(file, root+"/"), prose: fence.ReplaceAllString(string(text), "")}
			for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
				p.blocks = append(p.blocks, block{m[1], m[2]})
			}
			out = append(out, p)
		}
	}
	if len(out) < 5 {
		t.Fatalf("only %d pages were found", len(out))
	}
	return out
}

// The API server takes every manifest of the documentation, and every sample.
func TestManifests(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 1, NoAgents: true, NoController: true})
	l.Define(t, l.Bin("gitops-crds.yaml")) // Those of Flux and Argo CD, which docs/gitops.md shows.
	for _, namespace := range []string{v1alpha1.BGPNamespace, "causeway-system", "flux-system", "argocd"} {
		if out, err := l.Kubectl(t.Context(), "create", "namespace", namespace); err != nil && !strings.Contains(out, "AlreadyExists") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	apply := func(t *testing.T, file string) {
		if out, err := l.Kubectl(t.Context(), "apply", "--dry-run=server", "-f", file); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	count := 0
	for _, p := range pages(t) {
		for i, b := range p.blocks {
			if b.language != "yaml" {
				continue
			}
			count++
			t.Run(fmt.Sprintf("%s block %d", p.path, i+1), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "block.yaml")
				if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
					t.Fatal(err)
				}
				apply(t, file)
			})
		}
	}
	if count == 0 {
		t.Error("no page shows a manifest")
	}
	samples, err := filepath.Glob(root + "/config/samples/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pools, err := filepath.Glob(root + "/config/samples/ippool*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(append(samples, pools...), root+"/config/argocd/argocd-cm.yaml") {
		if filepath.Base(file) != "kustomization.yaml" {
			t.Run(filepath.Base(file), func(t *testing.T) { apply(t, file) })
		}
	}
}

// docs/gitops.md shows the samples as they are.
func TestGitOpsSamples(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/gitops.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(root + "/config/samples/gitops/*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("samples %v: %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(page), "```yaml\n"+string(text)+"```\n") {
			t.Errorf("docs/gitops.md does not show %s: %v", file, err)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Links within the repository lead to a file, and to a heading of it if they name one.
func TestLinks(t *testing.T) {
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(p.prose, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := filepath.Join(root, filepath.Dir(p.path), target)
			if target == "" {
				file = filepath.Join(root, p.path)
			}
			text, err := os.ReadFile(file)
			if info, statErr := os.Stat(file); statErr == nil && info.IsDir() && anchor == "" {
				continue
			}
			if err != nil {
				t.Errorf("%s links to %s: %v", p.path, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(string(text)), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", p.path, m[1])
			}
		}
	}
}

var (
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInNames = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names by which headings are linked to.
func anchors(text string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		out = append(out, strings.ReplaceAll(notInNames.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return out
}

var code = regexp.MustCompile("`([^`\n]+)`")

// Files, folders, make targets, commands of bin/lab, metrics and flags that the prose names in backticks exist.
func TestNames(t *testing.T) {
	r := readRepository(t)
	for _, p := range pages(t) {
		for _, m := range code.FindAllStringSubmatch(p.prose, -1) {
			if err := r.knows(m[1]); err != nil {
				t.Errorf("%s says `%s`: %v", p.path, m[1], err)
			}
		}
		for _, b := range p.blocks {
			for line := range strings.Lines(b.text) {
				if err := r.knowsCommand(line); err != nil {
					t.Errorf("%s says %q: %v", p.path, strings.TrimSpace(line), err)
				}
			}
		}
	}
}

// repository is what names are looked up in.
type repository struct {
	files    []string // all but built ones, from the root
	makefile string
	source   string // of all Go files that are not tests
	verbs    string // what bin/lab says of itself
	plugin   string // what kubectl causeway says of itself
}

func readRepository(t *testing.T) repository {
	t.Helper()
	var r repository
	var source strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root+"/")
		if err != nil || name == "bin" || name == ".git" || name == ".lab" {
			if d != nil && d.IsDir() {
				return filepath.SkipDir
			}
			return err
		}
		r.files = append(r.files, name)
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			source.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.source = source.String()
	text, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	r.makefile = string(text)
	verbs, err := exec.CommandContext(t.Context(), root+"/bin/lab", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("ask bin/lab for its commands (run make build): %v: %s", err, verbs)
	}
	r.verbs = string(verbs)
	plugin, err := exec.CommandContext(t.Context(), root+"/bin/kubectl-causeway", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("ask bin/kubectl-causeway for its commands (run make build): %v: %s", err, plugin)
	}
	r.plugin = string(plugin)
	return r
}

var (
	metric     = regexp.MustCompile(`\bcauseway_[a-z_]+`)
	flag       = regexp.MustCompile(`(?:^| )--([a-z][a-z-]+)`)
	fileName   = regexp.MustCompile(`^[\w.-]+\.(?:go|yaml|sh|md|c)$`)
	makeTarget = regexp.MustCompile(`\bmake ([a-z-]+)`)
	labVerb    = regexp.MustCompile(`\bbin/lab ([a-z]+)`)
	pluginVerb = regexp.MustCompile(`\bkubectl causeway ([a-z]+)`)
)

// knows returns an error if the code names something that does not exist.
func (r repository) knows(code string) error {
	if err := r.knowsCommand(code); err != nil {
		return err
	}
	for _, name := range metric.FindAllString(code, -1) {
		if !strings.Contains(r.source, `"`+name+`"`) {
			return fmt.Errorf("no source defines metric %s", name)
		}
	}
	path := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(code, "../"), "..."), "/")
	first, _, deep := strings.Cut(path, "/")
	switch {
	case strings.ContainsAny(path, " <>{}*"), first == "bin":
	case deep && slices.Contains(r.files, first) && !slices.Contains(r.files, path):
		return fmt.Errorf("there is no such file")
	case fileName.MatchString(path) && !slices.ContainsFunc(r.files, func(f string) bool { return filepath.Base(f) == path }):
		return fmt.Errorf("no file has this name")
	}
	return nil
}

// knowsCommand looks at commands only.
func (r repository) knowsCommand(line string) error {
	for _, m := range makeTarget.FindAllStringSubmatch(line, -1) {
		if !strings.Contains(r.makefile, "\n"+m[1]+":") {
			return fmt.Errorf("the Makefile has no target %s", m[1])
		}
	}
	for _, m := range labVerb.FindAllStringSubmatch(line, -1) {
		if !strings.Contains(r.verbs, "\n  "+m[1]+" ") {
			return fmt.Errorf("bin/lab has no command %s", m[1])
		}
	}
	for _, m := range pluginVerb.FindAllStringSubmatch(line, -1) {
		if !strings.Contains(r.plugin, "\n  "+m[1]+" ") {
			return fmt.Errorf("kubectl causeway has no command %s", m[1])
		}
	}
	ours := strings.HasPrefix(line, "--") || strings.Contains(line, "causeway-agent --") || strings.Contains(line, "causeway-controller --")
	if !ours {
		return nil
	}
	for _, m := range flag.FindAllStringSubmatch(line, -1) {
		if !strings.Contains(r.source, `"`+m[1]+`"`) {
			return fmt.Errorf("no program of ours has the flag --%s", m[1])
		}
	}
	return nil
}

// What does not exist is found out.
func TestNamesThatAreMissing(t *testing.T) {
	r := readRepository(t)
	for _, code := range []string{
		"node-agent/nowhere", "docs/missing.md", "missing.yaml", "make nothing", "bin/lab fly", "kubectl causeway fly", "causeway_nothing", "--no-such-flag",
	} {
		if r.knows(code) == nil {
			t.Errorf("`%s` was found", code)
		}
	}
	for _, code := range []string{"test/lab", "config/samples/", "make lab", "bin/lab node node1", "kubectl causeway ipam show", "kubectl get pods --all-namespaces", "10.0.0.0/8"} {
		if err := r.knows(code); err != nil {
			t.Errorf("`%s`: %v", code, err)
		}
	}
}
