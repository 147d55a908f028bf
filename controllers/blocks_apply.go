package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// create creates blocks by name. The API server refuses one that exists, whoever made it.
func (r *BlockReconciler) create(ctx context.Context, blocks []blockplan.NewBlock) error {
	now := r.Now()
	return together(blocks, func(n blockplan.NewBlock, mu *sync.Mutex) error {
		b := &v1alpha1.IPBlock{}
		b.Name = v1alpha1.BlockName(n.Prefix)
		b.Finalizers = []string{v1alpha1.FinalizerBlock}
		b.Spec = v1alpha1.IPBlockSpec{CIDR: n.Prefix.String(), Pool: n.Pool, Node: n.Node, NodeAddresses: n.Addresses}
		err := r.Client.Create(ctx, b)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			r.pending[n.Prefix] = created{block: n, at: now}
			r.Meters.allocations.WithLabelValues(n.Pool).Inc()
			return nil
		case apierrors.IsAlreadyExists(err):
			// Another leader was first. The next round takes the next one.
			r.blocked[n.Prefix] = now.Add(memory)
			return nil
		}
		r.Meters.failures.WithLabelValues(n.Pool).Inc()
		return fmt.Errorf("create block %s for node %s: %w", n.Prefix, n.Node, err)
	})
}

// release deletes blocks that their nodes will never use again. The node's list is read from the API server once more: a
// block that was made anew since the cache saw the list must not go.
func (r *BlockReconciler) release(ctx context.Context, blocks []blockplan.Release) error {
	listed := map[string]map[netip.Prefix]bool{}
	for _, b := range blocks {
		node := b.Object.Spec.Node
		if listed[node] != nil {
			continue
		}
		var claim v1alpha1.BlockClaim
		if err := r.Live.Get(ctx, client.ObjectKey{Name: node}, &claim); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read what node %s has released: %w", node, err)
		}
		listed[node] = map[netip.Prefix]bool{}
		for _, p := range claim.Spec.Pools {
			for _, text := range p.Released {
				if prefix, err := netip.ParsePrefix(text); err == nil {
					listed[node][prefix.Masked()] = true
				}
			}
		}
	}
	return together(blocks, func(b blockplan.Release, mu *sync.Mutex) error {
		prefix, err := netip.ParsePrefix(b.Object.Spec.CIDR)
		if err != nil || !listed[b.Object.Spec.Node][prefix.Masked()] {
			return nil
		}
		if err := deleteBlock(ctx, r.Client, b.Object); err != nil {
			return err
		}
		mu.Lock()
		r.letGo[prefix.Masked()] = true
		mu.Unlock()
		r.Meters.releases.WithLabelValues(b.Object.Spec.Pool).Inc()
		return nil
	})
}

// mend brings a block's node addresses and finalizer up to date.
func (r *BlockReconciler) mend(ctx context.Context, blocks []blockplan.Mend) error {
	return together(blocks, func(m blockplan.Mend, _ *sync.Mutex) error {
		b := m.Object.DeepCopy()
		b.Spec.NodeAddresses = m.Addresses
		if !slices.Contains(b.Finalizers, v1alpha1.FinalizerBlock) {
			b.Finalizers = append(b.Finalizers, v1alpha1.FinalizerBlock)
		}
		err := r.Client.Patch(ctx, b, client.MergeFromWithOptions(m.Object, client.MergeFromWithOptimisticLock{}))
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil // The cache is behind; its next event brings us back.
		}
		if err != nil {
			return fmt.Errorf("update block %s: %w", b.Spec.CIDR, err)
		}
		return nil
	})
}

// deleteBlock deletes exactly this block, and takes our finalizer off it.
func deleteBlock(ctx context.Context, c client.Client, b *v1alpha1.IPBlock) error {
	uid := b.UID
	err := c.Delete(ctx, b.DeepCopy(), client.Preconditions{UID: &uid})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete block %s: %w", b.Spec.CIDR, err)
	}
	rest := slices.DeleteFunc(slices.Clone(b.Finalizers), func(f string) bool { return f == v1alpha1.FinalizerBlock })
	if len(rest) == len(b.Finalizers) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": uid},
		{"op": "test", "path": "/metadata/finalizers", "value": b.Finalizers},
		{"op": "replace", "path": "/metadata/finalizers", "value": rest},
	})
	if err != nil {
		return fmt.Errorf("write a patch for block %s: %w", b.Spec.CIDR, err)
	}
	err = c.Patch(ctx, b.DeepCopy(), client.RawPatch(types.JSONPatchType, patch))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("take the finalizer off block %s: %w", b.Spec.CIDR, err)
	}
	return nil
}

// together does something for each of a list, some at a time, and joins the errors.
func together[T any](list []T, do func(T, *sync.Mutex) error) error {
	var mu sync.Mutex
	var errs []error
	var group errgroup.Group
	group.SetLimit(requestsAtOnce)
	for _, item := range list {
		group.Go(func() error {
			if err := do(item, &mu); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
