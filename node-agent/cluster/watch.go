package cluster

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// Handler gets the objects of one kind as they come, change and go.
type Handler[T any] struct {
	Set, Drop func(T)
}

// Watch makes a handler follow a kind. The result reports whether the handler has got all objects that there were.
func Watch[T client.Object](ctx context.Context, c *Connection, kind T, h Handler[T]) (func() bool, error) {
	return watchAs(ctx, c, kind, func(o any) (T, bool) {
		object, ok := o.(T)
		return object, ok
	}, h)
}

// watchAs makes a handler follow a kind. read reads what the cache keeps of an object.
func watchAs[T any](ctx context.Context, c *Connection, kind client.Object, read func(any) (T, bool), h Handler[T]) (func() bool, error) {
	informer, err := c.Cache.GetInformer(ctx, kind)
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", kind, err)
	}
	call := func(f func(T), o any) {
		if tombstone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = tombstone.Obj
		}
		if object, ok := read(o); ok && f != nil {
			f(object)
		}
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { call(h.Set, o) },
		UpdateFunc: func(_, o any) { call(h.Set, o) },
		DeleteFunc: func(o any) { call(h.Drop, o) },
	})
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", kind, err)
	}
	return registration.HasSynced, nil
}

// Follow makes the view follow the API. Watching starts with the connection's cache. network is told of this node's own
// NodeNetwork.
func (v *View) Follow(ctx context.Context, c *Connection, network Handler[*v1alpha1.NodeNetwork]) error {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	var synced []toolscache.InformerSynced
	note := func(done func() bool, err error) error {
		synced = append(synced, done)
		return err
	}
	for _, err := range []error{
		note(Watch(ctx, c, &v1alpha1.IPPool{}, v.poolHandler())),
		note(watchAs(ctx, c, &v1alpha1.IPBlock{}, keptOf, v.blockHandler())),
		note(Watch(ctx, c, &v1alpha1.NodeNetwork{}, v.networkHandler(network))),
		note(Watch(ctx, c, &v1alpha1.IPReservation{}, v.reservationHandler())),
		note(Watch(ctx, c, &v1alpha1.StickyAddress{}, v.stickyHandler())),
		note(Watch(ctx, c, &corev1.Node{}, v.nodeHandler())),
		note(Watch(ctx, c, namespace, Handler[*metav1.PartialObjectMetadata]{
			Set:  func(o *metav1.PartialObjectMetadata) { v.setNamespace(o.Name, parseNamespace(o)) },
			Drop: func(o *metav1.PartialObjectMetadata) { v.dropNamespace(o.Name) },
		})),
	} {
		if err != nil {
			return err
		}
	}
	v.synced = synced
	return nil
}

// WaitLive waits until the API server has told all there is, and shows that. It reports false when the context ends first.
func (v *View) WaitLive(ctx context.Context) bool {
	if !toolscache.WaitForCacheSync(ctx.Done(), v.synced...) {
		return false
	}
	v.goLive()
	return true
}

func (v *View) poolHandler() Handler[*v1alpha1.IPPool] {
	return Handler[*v1alpha1.IPPool]{
		Set: func(o *v1alpha1.IPPool) {
			if p, ok := parsePool(o); ok {
				v.setPool(p)
			}
		},
		Drop: func(o *v1alpha1.IPPool) { v.dropPool(o.Name) },
	}
}

func (v *View) reservationHandler() Handler[*v1alpha1.IPReservation] {
	return Handler[*v1alpha1.IPReservation]{
		Set: func(o *v1alpha1.IPReservation) {
			set, _ := reservation.Parse(o.Spec.Addresses, netip.Prefix{}) // the controller tells people what is wrong
			v.setReservation(o.Name, set)
		},
		Drop: func(o *v1alpha1.IPReservation) { v.setReservation(o.Name, nil) },
	}
}

func (v *View) stickyHandler() Handler[*v1alpha1.StickyAddress] {
	return Handler[*v1alpha1.StickyAddress]{
		Set: func(o *v1alpha1.StickyAddress) {
			v.setRemembered(client.ObjectKeyFromObject(o), sticky.Read(o).Addresses)
		},
		Drop: func(o *v1alpha1.StickyAddress) { v.setRemembered(client.ObjectKeyFromObject(o), nil) },
	}
}

func (v *View) blockHandler() Handler[*keptBlock] {
	return Handler[*keptBlock]{
		Set: func(k *keptBlock) {
			if k.block != nil {
				v.setBlock(k)
			}
		},
		Drop: func(k *keptBlock) {
			if k.block != nil {
				v.dropBlock(k.block.CIDR)
			}
		},
	}
}

func (v *View) networkHandler(own Handler[*v1alpha1.NodeNetwork]) Handler[*v1alpha1.NodeNetwork] {
	return Handler[*v1alpha1.NodeNetwork]{
		Set: func(o *v1alpha1.NodeNetwork) {
			v.setNetwork(o.Name, parseNetwork(o))
			if o.Name == v.node {
				own.Set(o)
			}
		},
		Drop: func(o *v1alpha1.NodeNetwork) {
			v.setNetwork(o.Name, nil)
			if o.Name == v.node {
				own.Drop(o)
			}
		},
	}
}

func (v *View) nodeHandler() Handler[*corev1.Node] {
	return Handler[*corev1.Node]{
		Set: func(o *corev1.Node) {
			n := parseNode(o)
			v.setNode(&n)
		},
		Drop: func(*corev1.Node) { v.setNode(nil) },
	}
}
