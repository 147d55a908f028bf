package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const crd = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  group: causeway.dev
  scope: Cluster
  names: {kind: Thing, plural: things, shortNames: [th]}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        description: Thing is a thing
        x-kubernetes-validations: [{rule: "true", message: things come in pairs}]
        properties:
          spec:
            required: [list]
            properties:
              list:
                description: |-
                  list is a list
                  of <parts>
                type: array
                maxItems: 8
                items:
                  type: object
                  properties:
                    size: {type: integer, minimum: 1, maximum: 4294967295, default: 3}
                    mode: {type: string, enum: [A, B]}
              selector:
                type: object
                properties: {matchExpressions: {type: array}, matchLabels: {type: object}}
`

func TestRun(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "reference.md")
	if err := run(dir, out); err == nil || !strings.Contains(err.Error(), "no CRDs") {
		t.Errorf("without CRDs it says %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "thing.yaml"), []byte(crd), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- [Thing](#thing)\n", "## Thing\nThing is a thing.\n", "`causeway.dev/v1`, one for the cluster, without a namespace, `kubectl get things` or `kubectl get th`\n",
		"- things come in pairs.\n",
		"| `spec.list` | list of object | list is a list of &lt;parts>. Required. At most 8. |\n",
		"| `spec.list[].mode` | string |  One of A, B. |\n",
		"| `spec.list[].size` | integer |  Default: 3. 1 to 4294967295. |\n",
		"| `spec.selector` | LabelSelector |  |\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "matchLabels") {
		t.Error("it describes Kubernetes' own types")
	}
}
