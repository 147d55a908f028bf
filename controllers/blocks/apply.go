package blocks

import (
	"context"
	"encoding/json"
	"errors"
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
		b.Spec = v1alpha1.IPBlockSpec{CIDR: n.Prefix.String(), Pool: n.Pool, Node: n.Node, NodeAddresses: n.Addresses, Lent: blockplan.ObjectLoans(n.Loans)}
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
			if uid := listed[b.Prefix]; uid == "" || uid != b.Object.UID {
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

// released reads which blocks a node has released, and returns their UIDs.
func (r *Reconciler) released(ctx context.Context, node string) (map[netip.Prefix]types.UID, error) {
	var claim v1alpha1.BlockClaim
	if err := r.o.Live.Get(ctx, client.ObjectKey{Name: node}, &claim); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read what node %s has released: %w", node, err)
	}
	out := map[netip.Prefix]types.UID{}
	for _, p := range claim.Spec.Pools {
		for _, b := range p.Released {
			if prefix, err := netip.ParsePrefix(b.CIDR); err == nil {
				out[prefix.Masked()] = types.UID(b.UID)
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
	blocks, loans := r.state.BlocksOf(node), r.state.LoansTo(node)
	r.mu.Unlock()
	return errors.Join(r.lend(ctx, loans), parallel.Each(blocks, func(b *v1alpha1.IPBlock) error { return r.delete(ctx, b) }))
}

// lend writes the loans of blocks. The id of a new loan names the block's next generation, so that the change must be the next one.
func (r *Reconciler) lend(ctx context.Context, blocks []blockplan.Lending) error {
	return parallel.Each(blocks, func(l blockplan.Lending) error {
		b := l.Object.DeepCopy()
		b.Spec.Lent = blockplan.ObjectLoans(l.Loans)
		err := r.o.Client.Patch(ctx, b, client.MergeFromWithOptions(l.Object, client.MergeFromWithOptimisticLock{}))
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil // The cache is behind; its next event brings us back.
		}
		if err != nil {
			return fmt.Errorf("write the loans of block %s: %w", b.Spec.CIDR, err)
		}
		return nil
	})
}

func granted(loans []v1alpha1.Loan) bool {
	return slices.ContainsFunc(loans, func(l v1alpha1.Loan) bool { return l.Granted })
}

// delete deletes exactly this block, and takes our finalizer off it. A block that has lent something is being deleted until that is back.
func (r *Reconciler) delete(ctx context.Context, b *v1alpha1.IPBlock) error {
	uid := b.UID
	err := r.o.Client.Delete(ctx, b.DeepCopy(), client.Preconditions{UID: &uid})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete block %s: %w", b.Spec.CIDR, err)
	}
	var now v1alpha1.IPBlock
	if err := r.o.Live.Get(ctx, client.ObjectKeyFromObject(b), &now); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("read block %s before its finalizer goes: %w", b.Spec.CIDR, err)
	}
	rest := slices.DeleteFunc(slices.Clone(now.Finalizers), func(f string) bool { return f == v1alpha1.FinalizerBlock })
	if now.UID != uid || granted(now.Spec.Lent) || len(rest) == len(now.Finalizers) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/resourceVersion", "value": now.ResourceVersion},
		{"op": "replace", "path": "/metadata/finalizers", "value": rest},
	})
	if err != nil {
		return fmt.Errorf("write a patch for block %s: %w", b.Spec.CIDR, err)
	}
	err = r.o.Client.Patch(ctx, &now, client.RawPatch(types.JSONPatchType, patch))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("take the finalizer off block %s: %w", b.Spec.CIDR, err)
	}
	return nil
}
