package uninstall

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Connect returns a client that asks the API server itself.
func Connect(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register what is uninstalled: %w", err)
		}
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make an API client: %w", err)
	}
	return api, nil
}

// agentsImage returns the image of the agents, which cleans nodes too; "" if there are no agents.
func agentsImage(ctx context.Context, api client.Client) (string, error) {
	var agents appsv1.DaemonSet
	err := api.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: agentName}, &agents)
	if apierrors.IsNotFound(err) || err == nil && len(agents.Spec.Template.Spec.Containers) == 0 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for the agents' image: %w", err)
	}
	return agents.Spec.Template.Spec.Containers[0].Image, nil
}
