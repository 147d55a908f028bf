// Command argocd-health says what Argo CD thinks of an object: it reads a ConfigMap argocd-cm from the file that it is given and the
// object in JSON from its standard input, and prints the health and the message, with a tab between them.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: argocd-health ARGOCD-CM.yaml <OBJECT.json")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file string, in io.Reader, out io.Writer) error {
	overrides, err := readOverrides(file)
	if err != nil {
		return err
	}
	var object unstructured.Unstructured
	if err := json.NewDecoder(in).Decode(&object); err != nil {
		return fmt.Errorf("read the object: %w", err)
	}
	h, err := health.GetResourceHealth(&object, overrides)
	if err != nil {
		return err
	}
	if h == nil {
		return fmt.Errorf("%s has no health check for a %s", file, object.GetKind())
	}
	_, err = fmt.Fprintf(out, "%s\t%s\n", h.Status, h.Message)
	return err
}

// readOverrides reads a ConfigMap as Argo CD's settings do.
func readOverrides(file string) (lua.ResourceHealthOverrides, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var settings struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &settings); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	overrides := map[string]appv1.ResourceOverride{}
	if err := yaml.Unmarshal([]byte(settings.Data["resource.customizations"]), &overrides); err != nil {
		return nil, fmt.Errorf("read resource.customizations of %s: %w", file, err)
	}
	return overrides, nil
}
