// Command reference writes docs/api-reference.md from the CRDs: `make generate` runs it. A folder of CRDs comes in, Markdown goes
// out. What it says of a field is the field's comment in api/v1alpha1, with the bounds that the API server enforces.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: reference FOLDER-OF-CRDS FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

// order is that in which people meet the kinds; all others follow by name.
var order = []string{"IPPool", "IPReservation", "BGPConfiguration", "BGPPeer", "BGPFilter"}

func run(folder, file string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return fmt.Errorf("list the CRDs: %w", err)
	}
	var crds []apiextensionsv1.CustomResourceDefinition
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read a CRD: %w", err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		crds = append(crds, crd)
	}
	if len(crds) == 0 {
		return fmt.Errorf("there are no CRDs in %s", folder)
	}
	slices.SortStableFunc(crds, func(a, b apiextensionsv1.CustomResourceDefinition) int { return rank(&a) - rank(&b) })
	if err := os.WriteFile(file, []byte(page(crds)), 0o644); err != nil {
		return fmt.Errorf("write the reference: %w", err)
	}
	return nil
}

func rank(crd *apiextensionsv1.CustomResourceDefinition) int {
	if i := slices.Index(order, crd.Spec.Names.Kind); i >= 0 {
		return i
	}
	return len(order)
}

func page(crds []apiextensionsv1.CustomResourceDefinition) string {
	var b strings.Builder
	b.WriteString("# API reference\n\nGenerated from the types by `make generate`; change the comments in `api/v1alpha1` instead.\n" +
		"A field without a default may be left out where it says optional. Rules are what the API server refuses, in its words.\n\n")
	for i := range crds {
		kind := crds[i].Spec.Names.Kind
		fmt.Fprintf(&b, "- [%s](#%s)\n", kind, strings.ToLower(kind))
	}
	for i := range crds {
		section(&b, &crds[i])
	}
	return b.String()
}

func section(b *strings.Builder, crd *apiextensionsv1.CustomResourceDefinition) {
	names := crd.Spec.Names
	for _, version := range crd.Spec.Versions {
		schema := version.Schema.OpenAPIV3Schema
		fmt.Fprintf(b, "\n## %s\n%s\n\n", names.Kind, sentence(schema.Description))
		fmt.Fprintf(b, "`%s/%s`, %s, `kubectl get %s`", crd.Spec.Group, version.Name, scope(crd.Spec.Scope), names.Plural)
		if len(names.ShortNames) > 0 {
			fmt.Fprintf(b, " or `kubectl get %s`", strings.Join(names.ShortNames, "`, `"))
		}
		b.WriteString("\n")
		rules(b, schema)
		b.WriteString("\n| field | type | what it is |\n| --- | --- | --- |\n")
		for _, part := range []string{"spec", "status"} {
			if p, ok := schema.Properties[part]; ok {
				fields(b, part, &p)
			}
		}
	}
}

func scope(s apiextensionsv1.ResourceScope) string {
	if s == apiextensionsv1.ClusterScoped {
		return "one for the cluster, without a namespace"
	}
	return "in a namespace"
}

// rules are those of the object, its spec and its status as a whole.
func rules(b *strings.Builder, schema *apiextensionsv1.JSONSchemaProps) {
	var all []string
	for _, part := range []apiextensionsv1.JSONSchemaProps{*schema, schema.Properties["spec"], schema.Properties["status"]} {
		for _, r := range part.XValidations {
			all = append(all, sentence(r.Message))
		}
	}
	if len(all) > 0 {
		b.WriteString("\nRules:\n")
	}
	for _, r := range all {
		fmt.Fprintf(b, "- %s\n", escape(r))
	}
}

// fields writes a row for each field below a path, parents first.
func fields(b *strings.Builder, path string, schema *apiextensionsv1.JSONSchemaProps) {
	for _, name := range sortedKeys(schema.Properties) {
		field := schema.Properties[name]
		full := path + "." + name
		text := []string{sentence(field.Description)}
		if slices.Contains(schema.Required, name) {
			text = append(text, "Required.")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", full, kind(&field), escape(strings.Join(append(text, bounds(&field)...), " ")))
		switch inner := elements(&field); {
		case known(inner) != "" || len(inner.Properties) == 0:
		case inner != &field:
			fields(b, full+"[]", inner)
		default:
			fields(b, full, inner)
		}
	}
}

// elements is what a list holds, or the field itself.
func elements(s *apiextensionsv1.JSONSchemaProps) *apiextensionsv1.JSONSchemaProps {
	if s.Items != nil && s.Items.Schema != nil {
		return s.Items.Schema
	}
	return s
}

// known names types of Kubernetes, whose fields are described there.
func known(s *apiextensionsv1.JSONSchemaProps) string {
	has := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { _, ok := s.Properties[n]; return !ok })
	}
	switch {
	case has("matchExpressions", "matchLabels"):
		return "LabelSelector"
	case has("lastTransitionTime", "reason", "status", "type"):
		return "Condition"
	case has("key", "name", "optional"):
		return "SecretKeySelector"
	}
	return ""
}

func kind(s *apiextensionsv1.JSONSchemaProps) string {
	if inner := elements(s); inner != s {
		return "list of " + kind(inner)
	}
	switch {
	case known(s) != "":
		return known(s)
	case s.Type == "object":
		return "object"
	case s.Format == "date-time":
		return "time"
	}
	return s.Type
}

// bounds are what the API server enforces, as far as it can be read.
func bounds(s *apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	inner := elements(s)
	if len(inner.Enum) > 0 {
		var values []string
		for _, e := range inner.Enum {
			values = append(values, strings.Trim(string(e.Raw), `"`))
		}
		out = append(out, "One of "+strings.Join(values, ", ")+".")
	}
	if s.Default != nil {
		out = append(out, "Default: "+strings.Trim(string(s.Default.Raw), `"`)+".")
	}
	if inner.Minimum != nil && inner.Maximum != nil {
		out = append(out, fmt.Sprintf("%.0f to %.0f.", *inner.Minimum, *inner.Maximum))
	} else if inner.Minimum != nil {
		out = append(out, fmt.Sprintf("At least %.0f.", *inner.Minimum))
	}
	if s.MaxItems != nil {
		out = append(out, fmt.Sprintf("At most %d.", *s.MaxItems))
	}
	for _, r := range slices.Concat(s.XValidations, innerRules(s, inner)) {
		out = append(out, "Rule: "+sentence(r.Message))
	}
	return out
}

func innerRules(s, inner *apiextensionsv1.JSONSchemaProps) apiextensionsv1.ValidationRules {
	if inner == s {
		return nil
	}
	return inner.XValidations
}

// sentence makes one line of a text, with a full stop.
func sentence(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}

// escape keeps a text inside a cell of a table, and its letters as they are.
func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(s)
}

func sortedKeys(m map[string]apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
