package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

// poolFact is what the agent has worked out of one IPPool.
type poolFact struct {
	pool       addressbook.Pool
	namespaces labels.Selector // nil for all
	manual     bool
	created    metav1.Time
	status     v1alpha1.IPPoolStatus
}

// poolFacts answers the CNI server's questions about pools. It is replaced as a whole at each change.
type poolFacts struct {
	mu         sync.RWMutex
	pools      []poolFact
	namespaces func(name string) (map[string]string, string, bool) // labels and pool annotation
	mtus       map[string]int
	defaultMTU int
}

// factsOf works out which pools this node may use.
func factsOf(pools []v1alpha1.IPPool, node *corev1.Node) []poolFact {
	var out []poolFact
	for _, p := range pools {
		cidr, err := netip.ParsePrefix(p.Spec.CIDR)
		if err != nil {
			continue // the API admits none
		}
		f := poolFact{
			manual: p.Spec.AssignmentMode == v1alpha1.AssignmentManual, created: p.CreationTimestamp, status: p.Status,
			pool: addressbook.Pool{
				Name: p.Name, CIDR: cidr, Reserve: p.Spec.AssignmentMode != v1alpha1.AssignmentManual,
				Exhausted:     meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionExhausted),
				Spare:         p.Status.Free > 0,
				BlockCapacity: int(min(v1alpha1.UsableAddresses(netip.PrefixFrom(cidr.Addr(), p.Spec.BlockBits())), 1<<16)),
			},
		}
		f.pool.Usable = !p.Spec.Disabled && p.DeletionTimestamp == nil && node != nil && selects(p.Spec.NodeSelector, node.Labels) &&
			!meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionOverlapping)
		if p.Spec.NamespaceSelector != nil {
			if f.namespaces, err = metav1.LabelSelectorAsSelector(p.Spec.NamespaceSelector); err != nil {
				f.namespaces = labels.Nothing()
			}
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b poolFact) int {
		if (a.namespaces == nil) != (b.namespaces == nil) { // a pool for this namespace goes before one for all
			if a.namespaces != nil {
				return -1
			}
			return 1
		}
		if c := a.created.Compare(b.created.Time); c != 0 {
			return c
		}
		return strings.Compare(a.pool.Name, b.pool.Name)
	})
	return out
}

func selects(selector *metav1.LabelSelector, set map[string]string) bool {
	if selector == nil {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(set))
}

func (f *poolFacts) set(pools []poolFact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pools = pools
}

// setMTU notes what pods get: by pool, and where nothing is known of the pool yet.
func (f *poolFacts) setMTU(byPool map[string]int, otherwise int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mtus, f.defaultMTU = byPool, otherwise
}

// Candidates implements cniserver.Pools.
func (f *poolFacts) Candidates(namespace string, asked []string) ([][]string, error) {
	namespaceLabels, annotation, known := f.namespaces(namespace)
	if len(asked) == 0 && known {
		asked = v1alpha1.SplitPools(annotation)
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, name := range asked {
		if !slices.ContainsFunc(f.pools, func(p poolFact) bool { return p.pool.Name == name }) {
			return nil, fmt.Errorf("%w: there is no IPPool %s, which the pod, its namespace or the network configuration asks for", addressbook.ErrNoPool, name)
		}
	}
	var v4, v6 []string
	for _, p := range f.pools {
		if !p.pool.Usable {
			continue
		}
		if len(asked) > 0 {
			if !slices.Contains(asked, p.pool.Name) {
				continue
			}
		} else if p.manual || p.namespaces != nil && (!known || !p.namespaces.Matches(labels.Set(namespaceLabels))) {
			continue
		}
		if p.pool.CIDR.Addr().Is4() {
			v4 = append(v4, p.pool.Name)
		} else {
			v6 = append(v6, p.pool.Name)
		}
	}
	var out [][]string
	for _, list := range [][]string{v4, v6} {
		if len(list) > 0 {
			out = append(out, list)
		}
	}
	if len(out) == 0 {
		return nil, addressbook.ErrNoPool
	}
	return out, nil
}

// poolOf returns the name of the pool that an address is from, or "".
func (f *poolFacts) poolOf(a netip.Addr) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, p := range f.pools {
		if p.pool.CIDR.Contains(a) {
			return p.pool.Name
		}
	}
	return ""
}

// poolsOf returns the names of the pools that an endpoint's addresses are from.
func (f *poolFacts) poolsOf(e addressbook.Endpoint) []string {
	out := make([]string, 0, len(e.Addresses))
	for _, a := range e.Addresses {
		out = append(out, f.poolOf(a))
	}
	return out
}

// MTU implements cniserver.Pools.
func (f *poolFacts) MTU(pools []string) int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	mtu := f.defaultMTU
	for _, name := range pools {
		if known, ok := f.mtus[name]; ok && known > 0 && (mtu == 0 || known < mtu) {
			mtu = known
		}
	}
	return mtu
}

// Fullness implements cniserver.Pools.
func (f *poolFacts) Fullness(pool string) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, p := range f.pools {
		if p.pool.Name == pool {
			return fmt.Sprintf("IPPool %s is full: %d of %d addresses are in use, and it has no block left for this node", pool, p.status.Allocated, p.status.Capacity)
		}
	}
	return fmt.Sprintf("IPPool %s is gone", pool)
}
