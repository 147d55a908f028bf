package report

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// object reads and writes one object by a client that asks the API server itself.
type object[T client.Object] struct {
	client client.Client
	what   string
	empty  func() T // with the name
}

// Get implements API.
func (o object[T]) Get(ctx context.Context) (T, error) {
	out := o.empty()
	if err := o.client.Get(ctx, client.ObjectKeyFromObject(out), out); err != nil {
		return out, fmt.Errorf("get %s: %w", o.what, err)
	}
	return out, nil
}

// Create implements API.
func (o object[T]) Create(ctx context.Context, in T) (T, error) {
	if err := o.client.Create(ctx, in); err != nil {
		return in, fmt.Errorf("create %s: %w", o.what, err)
	}
	return in, nil
}

// Patch implements API.
func (o object[T]) Patch(ctx context.Context, stored, next T) (T, error) {
	if err := o.client.Patch(ctx, next, difference(stored)); err != nil {
		return next, fmt.Errorf("patch %s: %w", o.what, err)
	}
	return next, nil
}

// PatchStatus implements API.
func (o object[T]) PatchStatus(ctx context.Context, stored, next T) (T, error) {
	if err := o.client.Status().Patch(ctx, next, difference(stored)); err != nil {
		return next, fmt.Errorf("patch the status of %s: %w", o.what, err)
	}
	return next, nil
}

// difference replaces lists as a whole, so it must not be applied to any other version than the one that it was made from.
func difference(stored client.Object) client.Patch {
	return client.MergeFromWithOptions(stored, client.MergeFromWithOptimisticLock{})
}
