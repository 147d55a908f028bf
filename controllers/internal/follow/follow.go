// Package follow tells of changes of objects that the cache has. Events of an informer come in, objects before and after a change go out.
package follow

import (
	"context"
	"fmt"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Changes calls change for each change of a kind, one after the other: with the object before and after it, or nil. What it returns says
// whether change was called for everything that there was at the start. It does not wait for that.
func Changes[T any, P interface {
	*T
	client.Object
}](ctx context.Context, c cache.Cache, change func(before, after P)) (synced func() bool, err error) {
	informer, err := c.GetInformer(ctx, P(new(T)), cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", *new(T), err)
	}
	registered, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { change(nil, as[P](o)) },
		UpdateFunc: func(before, after any) { change(as[P](before), as[P](after)) },
		DeleteFunc: func(o any) { change(as[P](o), nil) },
	})
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", *new(T), err)
	}
	return registered.HasSynced, nil
}

// as returns the object of an event; that of a deletion which the watch has missed is wrapped.
func as[P any](o any) P {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	typed, _ := o.(P)
	return typed
}
