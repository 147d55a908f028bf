package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/cniserver"
)

const (
	// writeWithin bounds one write, retries included: shorter than any runtime's patience.
	writeWithin = 8 * time.Second
	// refusedWithin bounds the retries while nothing listens on the API server's port.
	refusedWithin = 3 * time.Second
	refusedPause  = 200 * time.Millisecond
)

// records writes WorkloadEndpoints. The two calls on the way of every pod go by the REST client alone: their answers
// are not decoded.
type records struct {
	client client.Client
	rest   rest.Interface
}

func (r records) Create(ctx context.Context, record *v1alpha1.WorkloadEndpoint) error {
	what := fmt.Sprintf("create WorkloadEndpoint %s/%s", record.Namespace, record.Name)
	return write(ctx, what, func(ctx context.Context) error {
		err := r.rest.Post().Namespace(record.Namespace).Resource("workloadendpoints").Body(record).Do(ctx).Error()
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		var known v1alpha1.WorkloadEndpoint
		if err := r.client.Get(ctx, client.ObjectKeyFromObject(record), &known); err != nil {
			return client.IgnoreNotFound(err)
		}
		if reflect.DeepEqual(known.Spec, record.Spec) && known.DeletionTimestamp == nil {
			return nil
		}
		if err := r.client.Delete(ctx, &known, client.Preconditions{UID: &known.UID}); client.IgnoreNotFound(err) != nil {
			return err
		}
		return r.client.Create(ctx, record.DeepCopy())
	})
}

func (r records) Delete(ctx context.Context, namespace, name string) error {
	return write(ctx, fmt.Sprintf("delete WorkloadEndpoint %s/%s", namespace, name), func(ctx context.Context) error {
		return client.IgnoreNotFound(r.rest.Delete().Namespace(namespace).Resource("workloadendpoints").Name(name).Do(ctx).Error())
	})
}

// write runs one API call, again while the connection is refused, and marks errors after which it may come to pass.
func write(ctx context.Context, what string, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	refusedUntil := time.Now().Add(refusedWithin)
	for {
		err := call(ctx)
		if err == nil {
			return nil
		}
		if utilnet.IsConnectionRefused(err) && time.Now().Before(refusedUntil) && sleep(ctx, refusedPause) {
			continue
		}
		var answer apierrors.APIStatus
		if !errors.As(err, &answer) || answer.Status().Code >= 500 || apierrors.IsTooManyRequests(err) || ctx.Err() != nil {
			return fmt.Errorf("%w: %s: %w", cniserver.ErrAPIUnavailable, what, err)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
