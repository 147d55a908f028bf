package records

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
)

// Source answers a Keeper's questions from the API.
type Source struct {
	Node string
	// Server asks the API server itself, Cache a watch.
	Server, Cache client.Reader
	// OwnBlocks are the blocks of the node.
	OwnBlocks func() []cluster.Block
}

// Stored returns the node's records as the cache has them. They must not be changed.
func (s Source) Stored() ([]*v1alpha1.WorkloadEndpoint, error) {
	var list v1alpha1.WorkloadEndpointList
	if err := s.Cache.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list WorkloadEndpoints from the cache: %w", err)
	}
	out := make([]*v1alpha1.WorkloadEndpoint, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

// Past reads which blocks an earlier run had: those of the node now, and those that its claim speaks of.
func (s Source) Past(ctx context.Context) (Past, error) {
	var claim v1alpha1.BlockClaim
	if err := s.Server.Get(ctx, client.ObjectKey{Name: s.Node}, &claim); client.IgnoreNotFound(err) != nil {
		return Past{}, fmt.Errorf("get BlockClaim %s: %w", s.Node, err)
	}
	var past Past
	for _, b := range s.OwnBlocks() {
		past.Held = append(past.Held, addressbook.Block{CIDR: b.CIDR, Pool: b.Pool, UID: b.UID, Loan: b.Loan, Fixed: b.Fixed})
	}
	for _, p := range claim.Spec.Pools {
		for _, cidr := range prefixes(p.Held) {
			past.Held = append(past.Held, addressbook.Block{CIDR: cidr, Pool: p.Pool})
		}
		for _, r := range p.Released {
			if cidr, err := netip.ParsePrefix(r.CIDR); err == nil {
				past.Released = append(past.Released, addressbook.Released{CIDR: cidr.Masked(), UID: r.UID})
			}
		}
		for _, g := range p.Given {
			if cidr, err := netip.ParsePrefix(g.CIDR); err == nil {
				past.Given = append(past.Given, addressbook.Given{CIDR: cidr.Masked(), Pool: p.Pool, ID: g.ID})
			}
		}
	}
	return past, nil
}

// prefixes parses what the API has admitted.
func prefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		if cidr, err := netip.ParsePrefix(text); err == nil {
			out = append(out, cidr.Masked())
		}
	}
	return out
}

// PodGone asks the API server whether an endpoint's pod is deleted, another one, or on another node.
func (s Source) PodGone(ctx context.Context, e addressbook.Endpoint) (bool, error) {
	var pod corev1.Pod
	err := s.Server.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: e.Pod}, &pod)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get pod %s/%s: %w", e.Namespace, e.Pod, err)
	}
	return e.PodUID != "" && string(pod.UID) != e.PodUID || pod.Spec.NodeName != s.Node, nil
}
