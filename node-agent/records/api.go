package records

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// API is what this package needs of the API server. Errors are those of k8s.io/apimachinery, wrapped or not.
type API interface {
	Create(ctx context.Context, record *v1alpha1.WorkloadEndpoint) error
	Get(ctx context.Context, namespace, name string) (*v1alpha1.WorkloadEndpoint, error)
	// Delete removes a record, if it has this UID where one is given.
	Delete(ctx context.Context, namespace, name string, uid types.UID) error
	// List returns all records of the node, as the API server has them now.
	List(ctx context.Context) ([]v1alpha1.WorkloadEndpoint, error)
}

const resource = "workloadendpoints"

// server is the API by Kubernetes' clients. The two calls that every pod causes go by the REST client alone: their answers
// are not decoded.
type server struct {
	client client.Client
	rest   rest.Interface
	node   string
}

// NewAPI returns the API of a server. c reads, and must not read from a cache; r is a REST client of our API group.
func NewAPI(c client.Client, r rest.Interface, node string) API {
	return server{client: c, rest: r, node: node}
}

func (s server) Create(ctx context.Context, record *v1alpha1.WorkloadEndpoint) error {
	return s.rest.Post().Namespace(record.Namespace).Resource(resource).Body(record).Do(ctx).Error()
}

func (s server) Get(ctx context.Context, namespace, name string) (*v1alpha1.WorkloadEndpoint, error) {
	var known v1alpha1.WorkloadEndpoint
	err := s.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &known)
	return &known, err
}

func (s server) Delete(ctx context.Context, namespace, name string, uid types.UID) error {
	if uid == "" {
		return s.rest.Delete().Namespace(namespace).Resource(resource).Name(name).Do(ctx).Error()
	}
	record := &v1alpha1.WorkloadEndpoint{}
	record.Namespace, record.Name = namespace, name
	return s.client.Delete(ctx, record, client.Preconditions{UID: &uid})
}

func (s server) List(ctx context.Context) ([]v1alpha1.WorkloadEndpoint, error) {
	var known v1alpha1.WorkloadEndpointList
	if err := s.client.List(ctx, &known, client.MatchingFields{"spec.node": s.node}); err != nil {
		return nil, fmt.Errorf("list this node's WorkloadEndpoints: %w", err)
	}
	return known.Items, nil
}

// refused reports whether the API server has answered that it does not want a write, so that a repetition alone is of no
// use: a quota, an admission rule, a namespace that is going or gone.
func refused(err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return false
	}
	code := answer.Status().Code
	return code >= 400 && code < 500 && !apierrors.IsUnauthorized(err) && !apierrors.IsTooManyRequests(err) && !apierrors.IsTimeout(err) && code != 408
}
