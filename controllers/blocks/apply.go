package blocks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/internal/parallel"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// create creates blocks by name. The API server refuses one that exists, whoever made it.
func (r *Reconciler) create(ctx context.Context, blocks []blockplan.NewBlock) error {
	now := r.o.Now()
	return parallel.Each(blocks, func(n blockplan.NewBlock) error {
		b := &v1alpha1.IPBlock{}
		b.Name = v1alpha1.BlockName(n.Prefix)
		b.Finalizers = []string{v1alpha1.FinalizerBlock}
		b.Spec = v1alpha1.IPBlockSpec{CIDR: n.Prefix.String(), Pool: n.Pool, Node: n.Node, NodeAddresses: n.Addresses}
		err := r.o.Client.Create(ctx, b)
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case err == nil:
			r.state.Created(n, now)
			r.meters.allocations.WithLabelValues(n.Pool).Inc()
			return nil
		case apierrors.IsAlreadyExists(err):
			// Another leader was first. The next round takes the next one.
			r.state.Refused(n.Prefix, now.Add(memory))
			return nil
		case apierrors.IsInvalid(err) || apierrors.IsForbidden(err):
			// A policy says that the pool is not what the cache shows. The other pools go on.
			r.state.Refused(n.Prefix, now.Add(quarantine))
		}
		r.meters.failures.WithLabelValues(n.Pool).Inc()
		return fmt.Errorf("create block %s for node %s: %w", n.Prefix, n.Node, err)
	})
}

// release deletes blocks that their nodes will never use again. The nodes' claims are read from the API server once more: a
// block that was made anew since the cache saw a claim must not go.
func (r *Reconciler) release(ctx context.Context, blocks []blockplan.Release) error {
	byNode := map[string][]blockplan.Release{}
	var nodes []string
	for _, b := range blocks {
		node := b.Object.Spec.Node
		if byNode[node] == nil {
			nodes = append(nodes, node)
		}
		byNode[node] = append(byNode[node], b)
	}
	return parallel.Each(nodes, func(node string) error {
		listed, err := r.released(ctx, node)
		if err != nil {
			return err
		}
		for _, b := range byNode[node] {
			if !listed[b.Prefix] {
				continue
			}
			if err := r.delete(ctx, b.Object); err != nil {
				return err
			}
			r.mu.Lock()
			r.state.LetGo(b.Prefix)
			r.mu.Unlock()
			r.meters.releases.WithLabelValues(b.Object.Spec.Pool).Inc()
		}
		return nil
	})
}

// released reads what a node has released.
func (r *Reconciler) released(ctx context.Context, node string) (map[netip.Prefix]bool, error) {
	var claim v1alpha1.BlockClaim
	if err := r.o.Live.Get(ctx, client.ObjectKey{Name: node}, &claim); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read what node %s has released: %w", node, err)
	}
	out := map[netip.Prefix]bool{}
	for _, p := range claim.Spec.Pools {
		for _, text := range p.Released {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				out[prefix.Masked()] = true
			}
		}
	}
	return out, nil
}

// mend brings a block's node addresses and finalizer up to date.
func (r *Reconciler) mend(ctx context.Context, blocks []blockplan.Mend) error {
	return parallel.Each(blocks, func(m blockplan.Mend) error {
		b := m.Object.DeepCopy()
		b.Spec.NodeAddresses = m.Addresses
		if !slices.Contains(b.Finalizers, v1alpha1.FinalizerBlock) {
			b.Finalizers = append(b.Finalizers, v1alpha1.FinalizerBlock)
		}
		err := r.o.Client.Patch(ctx, b, client.MergeFromWithOptions(m.Object, client.MergeFromWithOptimisticLock{}))
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil // The cache is behind; its next event brings us back.
		}
		if err != nil {
			return fmt.Errorf("update block %s: %w", b.Spec.CIDR, err)
		}
		return nil
	})
}

// DeleteAll deletes the blocks of a node that is gone.
func (r *Reconciler) DeleteAll(ctx context.Context, node string) error {
	r.mu.Lock()
	blocks := r.state.BlocksOf(node)
	r.mu.Unlock()
	return parallel.Each(blocks, func(b *v1alpha1.IPBlock) error { return r.delete(ctx, b) })
}

// delete deletes exactly this block, and takes our finalizer off it.
func (r *Reconciler) delete(ctx context.Context, b *v1alpha1.IPBlock) error {
	uid := b.UID
	err := r.o.Client.Delete(ctx, b.DeepCopy(), client.Preconditions{UID: &uid})
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
	err = r.o.Client.Patch(ctx, b.DeepCopy(), client.RawPatch(types.JSONPatchType, patch))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("take the finalizer off block %s: %w", b.Spec.CIDR, err)
	}
	return nil
}
