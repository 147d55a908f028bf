package cluster

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// SavedView is a view in a checkpoint.
type SavedView struct {
	Pools      []*v1alpha1.IPPool        `json:"pools"`
	Blocks     []SavedBlock              `json:"blocks"`
	Networks   map[string][]netip.Prefix `json:"networks"`
	Namespaces map[string]Namespace      `json:"namespaces"`
	// Reserved are the addresses that IPReservations keep from all pods, as ranges.
	Reserved []string `json:"reserved,omitempty"`
	// Remembered are the addresses that are remembered for pods.
	Remembered []SavedMemory `json:"remembered,omitempty"`
	Node       *Node         `json:"node,omitempty"`
}

// SavedMemory is what is remembered for one pod, in a checkpoint.
type SavedMemory struct {
	Namespace string           `json:"namespace"`
	Pod       string           `json:"pod"`
	Addresses []sticky.Address `json:"addresses"`
}

// SavedBlock is a block in a checkpoint.
type SavedBlock struct {
	CIDR          netip.Prefix `json:"cidr"`
	Pool          string       `json:"pool"`
	Node          string       `json:"node"`
	NodeAddresses []netip.Addr `json:"nodeAddresses,omitempty"`
	Created       time.Time    `json:"created"`
	Terminating   bool         `json:"terminating,omitempty"`
	UID           string       `json:"uid,omitempty"`
	Generation    int64        `json:"generation,omitempty"`
	Loans         []Loan       `json:"loans,omitempty"`
	Loan          string       `json:"loan,omitempty"`
	Fixed         bool         `json:"fixed,omitempty"`
	Lender        string       `json:"lender,omitempty"`
}

// Snapshot returns what a checkpoint keeps of the view. It is nil as long as nothing is known.
func (v *View) Snapshot() *SavedView {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.origin == Nowhere {
		return nil
	}
	out := &SavedView{
		Blocks: make([]SavedBlock, 0, len(v.shown.blocks)), Networks: maps.Clone(v.shown.networks), Namespaces: maps.Clone(v.shown.namespaces), Node: v.shown.node,
	}
	for _, p := range v.shown.pools {
		pool := p.Object.DeepCopy()
		pool.TypeMeta, pool.ManagedFields = metav1.TypeMeta{}, nil
		out.Pools = append(out.Pools, pool)
	}
	for _, b := range v.shown.blocks {
		out.Blocks = append(out.Blocks, SavedBlock{
			CIDR: b.CIDR, Pool: b.Pool, Node: b.Node, NodeAddresses: b.NodeAddresses, Created: b.Created, Terminating: b.Terminating,
			UID: b.UID, Generation: b.Generation, Loans: b.Loans, Loan: b.Loan, Fixed: b.Fixed, Lender: b.Lender,
		})
	}
	out.Reserved = reservation.Union(slices.Collect(maps.Values(v.shown.reservations))...).Texts()
	for pod, addresses := range v.shown.remembered {
		out.Remembered = append(out.Remembered, SavedMemory{Namespace: pod.Namespace, Pod: pod.Name, Addresses: addresses})
	}
	return out
}

// Restore shows a checkpoint until the API server has told all there is.
func (v *View) Restore(in *SavedView) {
	shown := newContents()
	for _, o := range in.Pools {
		if o == nil {
			continue
		}
		if p, ok := parsePool(o); ok {
			shown.pools[o.Name] = p
		}
	}
	for _, b := range in.Blocks {
		shown.blocks[b.CIDR] = &Block{
			Terminating: b.Terminating, UID: b.UID, Generation: b.Generation, Loans: b.Loans, Loan: b.Loan, Fixed: b.Fixed,
			Block: plan.Block{CIDR: b.CIDR, Pool: b.Pool, Node: b.Node, NodeAddresses: b.NodeAddresses, Created: b.Created, Lender: b.Lender},
		}
	}
	shown.reservations[""], _ = reservation.Parse(in.Reserved, netip.Prefix{})
	for _, m := range in.Remembered {
		shown.remembered[types.NamespacedName{Namespace: m.Namespace, Name: m.Pod}] = m.Addresses
	}
	for name, addresses := range in.Networks {
		shown.networks[name] = addresses
	}
	for name, n := range in.Namespaces {
		shown.namespaces[name] = n
	}
	shown.node = in.Node
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.origin == Nowhere {
		v.shown, v.origin = shown, Saved
		v.forget(everything)
	}
}
