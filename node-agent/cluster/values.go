package cluster

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/wish"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Pool is an IPPool, parsed.
type Pool struct {
	// Object is the IPPool itself. Nobody may change it.
	Object *v1alpha1.IPPool
	// Route is what routing needs of it.
	Route plan.Pool
}

// Block is an IPBlock, parsed.
type Block struct {
	plan.Block
	// Terminating blocks get no new pods.
	Terminating bool
	// UID and Generation are the object's.
	UID        string
	Generation int64
	// Loans are the ranges of the block that other nodes have or are to have.
	Loans []Loan
	// Loan is what a lent range is lent under; "" for a block.
	Loan string
	// Fixed ranges serve only pods that ask for an address of them.
	Fixed bool
}

// Loan is a range of a block that another node has or is to have.
type Loan struct {
	CIDR netip.Prefix `json:"cidr"`
	ID   string       `json:"id"`
	// Granted says that the other node has it. Before, the block's node is asked to give it up.
	Granted bool `json:"granted,omitempty"`
}

// Node is the agent's own Node.
type Node struct {
	Name, UID string
	Labels    map[string]string
	// Addresses are the InternalIPs.
	Addresses []netip.Addr
	// Unschedulable nodes are being drained.
	Unschedulable bool
}

// Namespace is what a pod's pool depends on.
type Namespace struct {
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are those that say which pools the namespace asks for.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// parsePool reports false for a pool that the API would not admit.
func parsePool(o *v1alpha1.IPPool) (Pool, bool) {
	cidr, err := netip.ParsePrefix(o.Spec.CIDR)
	if err != nil {
		return Pool{}, false
	}
	ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
	settled := o.Status.Encapsulation == o.Spec.Encapsulation && o.Status.ObservedGeneration == o.Generation &&
		ready != nil && ready.ObservedGeneration == o.Generation && o.Status.NodesReady >= o.Status.NodesTotal
	return Pool{Object: o, Route: plan.Pool{
		Name: o.Name, CIDR: cidr, Encapsulation: o.Spec.Encapsulation, Sending: o.Status.Encapsulation,
		NATOutgoing: o.Spec.NATOutgoing, NATExcept: exceptions(o.Spec.NATOutgoingExcept, cidr), Settled: settled,
		Doubtful: o.Status.ObservedGeneration <= 0 || meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionConflicting),
	}}, true
}

// exceptions reads natOutgoingExcept. The API server admits only networks of the pool's family.
func exceptions(texts []string, pool netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() == pool.Addr().Is4() {
			out = append(out, p.Masked())
		}
	}
	return out
}

// routesLike reports whether routing sees no difference between two versions of a pool. A generation that is not shown
// yet counts as one: the node has to say when the kernel shows it.
func (p Pool) routesLike(o Pool) bool {
	return p.Route.Equal(o.Route) && p.Object.UID == o.Object.UID && p.Object.Generation == o.Object.Generation
}

// servesLike reports whether the address book sees no difference between two versions of a pool: it asks whether there
// are free addresses, not how many.
func (p Pool) servesLike(o Pool) bool {
	a, b := p.Object, o.Object
	return a.UID == b.UID && a.Generation == b.Generation && a.DeletionTimestamp.IsZero() == b.DeletionTimestamp.IsZero() &&
		(a.Status.Free > 0) == (b.Status.Free > 0) && equality.Semantic.DeepEqual(a.Labels, b.Labels) &&
		slices.Equal(a.Status.NamespacesAtLimit, b.Status.NamespacesAtLimit) &&
		slices.EqualFunc(a.Status.Conditions, b.Status.Conditions, func(x, y metav1.Condition) bool {
			return x.Type == y.Type && x.Status == y.Status
		})
}

// parseBlock returns a block and the ranges of it that other nodes have, each like a small block of that node. It reports false for a block
// that the API would not admit.
func parseBlock(o *v1alpha1.IPBlock) (block *Block, lent []*Block, ok bool) {
	cidr, err := netip.ParsePrefix(o.Spec.CIDR)
	if err != nil {
		return nil, nil, false
	}
	pool, node := shared(o.Spec.Pool), shared(o.Spec.Node)
	block = &Block{Terminating: o.DeletionTimestamp != nil, UID: string(o.UID), Generation: o.Generation, Block: plan.Block{
		CIDR: cidr, Pool: pool, Node: node, NodeAddresses: parseAddresses(o.Spec.NodeAddresses), Created: o.CreationTimestamp.Time,
	}}
	for _, l := range o.Spec.Lent {
		part, err := netip.ParsePrefix(l.CIDR)
		if err != nil || part.Bits() <= cidr.Bits() || !cidr.Contains(part.Addr()) {
			continue // The controller writes none.
		}
		block.Loans = append(block.Loans, Loan{CIDR: part.Masked(), ID: l.ID, Granted: l.Granted})
		if l.Granted {
			lent = append(lent, &Block{Terminating: block.Terminating, Loan: l.ID, Fixed: l.Fixed, Block: plan.Block{
				CIDR: part.Masked(), Pool: pool, Node: shared(l.Node), NodeAddresses: parseAddresses(l.NodeAddresses), Created: block.Created, Lender: node,
			}})
		}
	}
	return block, lent, true
}

func (b *Block) equal(o *Block) bool {
	return b.CIDR == o.CIDR && b.Pool == o.Pool && b.Node == o.Node && b.Terminating == o.Terminating && b.Created.Equal(o.Created) &&
		slices.Equal(b.NodeAddresses, o.NodeAddresses) && b.UID == o.UID && b.Generation == o.Generation && b.Loan == o.Loan && b.Fixed == o.Fixed &&
		b.Lender == o.Lender && slices.Equal(b.Loans, o.Loans)
}

// parseNetwork returns the addresses of another node, or of this one, with the lengths of their subnets.
func parseNetwork(o *v1alpha1.NodeNetwork) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range o.Status.Addresses {
		address, err := netip.ParseAddr(a.Address)
		if err != nil {
			continue
		}
		bits := address.BitLen()
		if subnet, err := netip.ParsePrefix(a.Subnet); err == nil && subnet.Contains(address) {
			bits = subnet.Bits()
		}
		out = append(out, netip.PrefixFrom(address, bits))
	}
	return out
}

func parseNode(o *corev1.Node) Node {
	n := Node{Name: o.Name, UID: string(o.UID), Labels: o.Labels, Unschedulable: o.Spec.Unschedulable}
	for _, a := range o.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if parsed, err := netip.ParseAddr(a.Address); err == nil {
			n.Addresses = append(n.Addresses, parsed)
		}
	}
	return n
}

func (n Node) equal(o Node) bool {
	return n.Name == o.Name && n.UID == o.UID && n.Unschedulable == o.Unschedulable &&
		equality.Semantic.DeepEqual(n.Labels, o.Labels) && slices.Equal(n.Addresses, o.Addresses)
}

func parseNamespace(o *metav1.PartialObjectMetadata) Namespace {
	return Namespace{Labels: o.Labels, Annotations: wish.Keep(o.Annotations)}
}

func parseAddresses(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a)
		}
	}
	return out
}
