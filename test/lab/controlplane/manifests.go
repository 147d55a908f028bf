package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/test/retry"
)

// prepare applies what a cluster has before Causeway's processes start.
func (c *ControlPlane) prepare(ctx context.Context) error {
	if c.o.Config == "" {
		return nil
	}
	for _, pattern := range []string{"crd/bases/*.yaml", "default/namespace.yaml", "rbac/*/*.yaml", "admission/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(c.o.Config, pattern))
		if err != nil || len(files) == 0 {
			return errors.Join(fmt.Errorf("there is no %s in %s", pattern, c.o.Config), err)
		}
		for _, file := range files {
			if err := c.Apply(ctx, file); err != nil {
				return err
			}
		}
	}
	return c.waitEstablished(ctx)
}

// Apply applies every object of a manifest, server-side.
func (c *ControlPlane) Apply(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read a manifest: %w", err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if len(o.Object) == 0 || o.GroupVersionKind().Group == "kustomize.config.k8s.io" || o.GetKind() == "" {
			continue
		}
		// Apply again when the API server has not yet heard of a kind that was defined a moment ago.
		err := retry.Until(ctx, 10*time.Second, func() error {
			return c.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("lab"), client.ForceOwnership)
		})
		if err != nil {
			return fmt.Errorf("apply %s %s of %s: %w", o.GetKind(), o.GetName(), file, err)
		}
	}
}

func (c *ControlPlane) waitEstablished(ctx context.Context) error {
	return retry.Until(ctx, 30*time.Second, func() error {
		var list apiextensionsv1.CustomResourceDefinitionList
		if err := c.Client.List(ctx, &list); err != nil {
			return err
		}
		for _, crd := range list.Items {
			established := false
			for _, condition := range crd.Status.Conditions {
				established = established || condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue
			}
			if !established {
				return fmt.Errorf("%s is not established", crd.Name)
			}
		}
		return nil
	})
}
