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
	"k8s.io/apimachinery/pkg/runtime"
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
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		err := definitionsServed(limited, server, kindsOf(scheme))
		if err == nil {
			return nil
		}
		if last == nil {
			log.Info("Waiting for the API server to serve the kinds of Causeway", "why", err.Error(), "limit", limit.String())
		}
		if last == nil || limited.Err() == nil { // the answer to a question that the limit has cut off says nothing
			last = err
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("waited %s for the definitions of Causeway: %w", limit, last)
		case <-time.After(definitionsPause):
		}
	}
}

// definitionsServed returns an error that names the kinds that the API server does not serve.
func definitionsServed(ctx context.Context, server discovery.ServerResourcesInterfaceWithContext, kinds []string) error {
	served, err := server.ServerResourcesForGroupVersionWithContext(ctx, v1alpha1.GroupVersion.String())
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("ask the API server which kinds of %s it serves: %w", v1alpha1.GroupVersion, err)
	}
	missing := slices.Clone(kinds)
	if err == nil {
		for _, r := range served.APIResources {
			missing = slices.DeleteFunc(missing, func(kind string) bool { return kind == r.Kind })
		}
	}
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
