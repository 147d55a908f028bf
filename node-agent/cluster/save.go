package cluster

import (
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// savedView is a view in a checkpoint.
type savedView struct {
	Pools      []*v1alpha1.IPPool      `json:"pools"`
	Blocks     []savedBlock            `json:"blocks"`
	Networks   map[string][]netip.Addr `json:"networks"`
	Namespaces map[string]Namespace    `json:"namespaces"`
	Node       *Node                   `json:"node,omitempty"`
}

type savedBlock struct {
	CIDR          netip.Prefix `json:"cidr"`
	Pool          string       `json:"pool"`
	Node          string       `json:"node"`
	NodeAddresses []netip.Addr `json:"nodeAddresses,omitempty"`
	Created       time.Time    `json:"created"`
	Terminating   bool         `json:"terminating,omitempty"`
}

// Snapshot returns what a checkpoint keeps of the view. It is nil as long as the API server has not told all there is: an
// earlier checkpoint is as good then.
func (v *View) Snapshot() any {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.origin != Live {
		return nil
	}
	out := &savedView{Networks: map[string][]netip.Addr{}, Namespaces: map[string]Namespace{}, Node: v.shown.node}
	for _, p := range v.shown.pools {
		pool := p.Object.DeepCopy()
		pool.TypeMeta, pool.ManagedFields = metav1.TypeMeta{}, nil
		out.Pools = append(out.Pools, pool)
	}
	for _, b := range v.shown.blocks {
		out.Blocks = append(out.Blocks, savedBlock{
			CIDR: b.CIDR, Pool: b.Pool, Node: b.Node, NodeAddresses: b.NodeAddresses, Created: b.Created, Terminating: b.Terminating,
		})
	}
	for name, addresses := range v.shown.networks {
		out.Networks[name] = addresses
	}
	for name, n := range v.shown.namespaces {
		out.Namespaces[name] = n
	}
	return out
}

// Restore shows a checkpoint until the API server has told all there is. It returns when the checkpoint was saved.
func (v *View) Restore(f File) (time.Time, error) {
	var in savedView
	saved, err := f.Load(&in)
	if err != nil {
		return time.Time{}, err
	}
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
		shown.blocks[b.CIDR] = Block{Terminating: b.Terminating, Block: plan.Block{
			CIDR: b.CIDR, Pool: b.Pool, Node: b.Node, NodeAddresses: b.NodeAddresses, Created: b.Created,
		}}
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
	return saved, nil
}
