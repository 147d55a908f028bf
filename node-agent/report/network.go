package report

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// networkLimits keep a node that flaps from waking all others more than a few times a minute.
var networkLimits = Limits{Gap: 50 * time.Millisecond, Burst: 10, Refill: 500 * time.Millisecond, LazyAfter: 5 * time.Second}

// Facts are what other nodes need of this one.
type Facts struct {
	Addresses      []v1alpha1.NodeAddress
	MTU            int32
	VTEPMAC        string
	Encapsulations []v1alpha1.Encapsulation
}

// Network keeps the status of the node's NodeNetwork, which the controller creates.
type Network struct {
	writer *Writer[*v1alpha1.NodeNetwork]

	mu         sync.Mutex
	facts      *Facts // nil as long as no pass over the kernel has found any
	conditions []metav1.Condition
}

// NewNetwork returns the keeper of a NodeNetwork's status. Somebody must call Observe and Gone.
func NewNetwork(s Settings) *Network {
	n := &Network{}
	empty := func() *v1alpha1.NodeNetwork {
		return &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: s.Node}}
	}
	what := "NodeNetwork " + s.Node
	n.writer = New(Options[*v1alpha1.NodeNetwork]{
		What: what, API: object[*v1alpha1.NodeNetwork]{client: s.Client, what: what, empty: empty}, Watched: true,
		Status: n.status, Limits: networkLimits, Random: s.Random, Log: s.Log, Observed: s.observe("NodeNetwork"),
	})
	return n
}

// Run writes until the context ends.
func (n *Network) Run(ctx context.Context) { n.writer.Run(ctx) }

// Observe tells what the watch shows of the object.
func (n *Network) Observe(stored *v1alpha1.NodeNetwork) { n.writer.Observe(stored) }

// Gone tells that the watch shows the object no more.
func (n *Network) Gone(stored *v1alpha1.NodeNetwork) { n.writer.Gone(stored) }

// SetFacts says what was found. Addresses that are stored stay where none was found.
func (n *Network) SetFacts(f Facts) { n.change(func() { n.facts = &f }) }

// SetCondition says one thing about the node's network.
func (n *Network) SetCondition(kind string, status metav1.ConditionStatus, reason, message string) {
	n.change(func() {
		meta.SetStatusCondition(&n.conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
	})
}

func (n *Network) change(f func()) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	n.writer.Wake()
}

func (n *Network) status(stored *v1alpha1.NodeNetwork) (*v1alpha1.NodeNetwork, Urgency) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := stored.DeepCopy()
	s := &next.Status
	s.ObservedGeneration = stored.Generation
	if f := n.facts; f != nil {
		s.MTU, s.VTEPMAC, s.Encapsulations = f.MTU, f.VTEPMAC, slices.Clone(f.Encapsulations)
		if len(f.Addresses) > 0 {
			s.Addresses = slices.Clone(f.Addresses)
		}
	}
	s.AddressList = addressList(s.Addresses)
	for _, c := range n.conditions {
		c.ObservedGeneration, c.LastTransitionTime = stored.Generation, metav1.Time{}
		meta.SetStatusCondition(&s.Conditions, c)
	}
	if equality.Semantic.DeepEqual(stored.Status, next.Status) {
		return stored, Unchanged
	}
	return next, Urgent
}

// addressList is what the columns of kubectl show.
func addressList(addresses []v1alpha1.NodeAddress) string {
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.Address)
	}
	return strings.Join(texts, ",")
}
