package controllers

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// definitionsPause is the time between two questions.
const definitionsPause = 250 * time.Millisecond

// WaitForDefinitions waits until the API server serves all kinds of Causeway. A release creates the definitions and the controller in one
// go, and it takes the API server a moment to serve what was defined. When limit has passed, the error says what is missing.
func WaitForDefinitions(ctx context.Context, cfg *rest.Config, limit time.Duration, log logr.Logger) error {
	scheme, err := Scheme()
	if err != nil {
		return err
	}
	server, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return fmt.Errorf("set up the question which kinds the API server serves: %w", err)
	}
	kinds := kindsOf(scheme)
	var missing error
	err = wait.PollUntilContextTimeout(ctx, definitionsPause, limit, true, func(limited context.Context) (bool, error) {
		err := definitionsServed(limited, server, kinds)
		if err != nil && missing == nil {
			log.Info("Waiting for the API server to serve the kinds of Causeway", "why", err.Error(), "limit", limit.String())
		}
		if missing == nil || limited.Err() == nil { // the answer to a question that the limit has cut off says nothing
			missing = err
		}
		return err == nil, nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("waited %s for the definitions of Causeway: %w", limit, missing)
	}
	return err //nolint:wrapcheck // nil, or the caller's own end
}

// definitionsServed returns an error that names the kinds that the API server does not serve.
func definitionsServed(ctx context.Context, server discovery.ServerResourcesInterfaceWithContext, kinds []string) error {
	served, err := server.ServerResourcesForGroupVersionWithContext(ctx, v1alpha1.GroupVersion.String())
	switch {
	case apierrors.IsNotFound(err):
		served = &metav1.APIResourceList{}
	case err != nil:
		return fmt.Errorf("ask the API server which kinds of %s it serves: %w", v1alpha1.GroupVersion, err)
	}
	missing := slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool {
		return slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Kind == kind })
	})
	if len(missing) > 0 {
		return fmt.Errorf("the API server does not serve %s of %s; apply the definitions (the Helm chart has them, and so has config/crd)", strings.Join(missing, ", "), v1alpha1.GroupVersion)
	}
	return nil
}

// kindsOf returns the kinds of objects, without those of lists, in the order of the alphabet.
func kindsOf(scheme *runtime.Scheme) []string {
	var kinds []string
	for kind, t := range scheme.KnownTypes(v1alpha1.GroupVersion) {
		if reflect.PointerTo(t).Implements(reflect.TypeFor[client.Object]()) {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}
