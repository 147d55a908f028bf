package report

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// bgpLimits: people and the controller read this, and no node waits for it.
var bgpLimits = Limits{Gap: 2 * time.Second, Burst: 5, Refill: 5 * time.Second, LazyAfter: time.Minute}

// BGPState keeps the node's BGPNodeState. The object comes into being with the node's first BGP session or problem.
type BGPState struct {
	writer *Writer[*v1alpha1.BGPNodeState]

	mu   sync.Mutex
	want *v1alpha1.BGPNodeStateStatus
}

// NewBGPState returns the keeper of a node's BGPNodeState.
func NewBGPState(s Settings) *BGPState {
	b := &BGPState{}
	empty := func() *v1alpha1.BGPNodeState {
		return &v1alpha1.BGPNodeState{ObjectMeta: metav1.ObjectMeta{Name: s.Node}}
	}
	what := "BGPNodeState " + s.Node
	b.writer = New(Options[*v1alpha1.BGPNodeState]{
		What: what, API: object[*v1alpha1.BGPNodeState]{client: s.Client, what: what, empty: empty}, Empty: empty,
		Status: b.status, Limits: bgpLimits, Random: s.Random, Log: s.Log, Observed: s.observe("BGPNodeState"),
	})
	return b
}

// Run writes until the context ends.
func (b *BGPState) Run(ctx context.Context) { b.writer.Run(ctx) }

// Set says what the node's BGP does. The conditions' times are set here. A node that has no BGP to do and has never had
// any gets no object.
func (b *BGPState) Set(status v1alpha1.BGPNodeStateStatus) {
	b.mu.Lock()
	b.want = status.DeepCopy()
	b.mu.Unlock()
	b.writer.Wake()
}

func (b *BGPState) status(stored *v1alpha1.BGPNodeState) (*v1alpha1.BGPNodeState, Urgency) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.want == nil {
		return stored, Unchanged
	}
	nothing := b.want.Expected == 0 && len(b.want.Sources) == 0 && len(b.want.Conditions) == 0
	if nothing && stored.ResourceVersion == "" {
		return stored, Unchanged
	}
	next := stored.DeepCopy()
	next.Status = *b.want.DeepCopy()
	next.Status.Conditions = nil
	for _, c := range b.want.Conditions {
		if known := meta.FindStatusCondition(stored.Status.Conditions, c.Type); known != nil {
			next.Status.Conditions = append(next.Status.Conditions, *known)
		}
		c.LastTransitionTime = metav1.Time{}
		meta.SetStatusCondition(&next.Status.Conditions, c)
	}
	switch {
	case equality.Semantic.DeepEqual(stored.Status, next.Status):
		return stored, Unchanged
	case stored.ResourceVersion != "" && equality.Semantic.DeepEqual(withoutPrefixes(stored.Status), withoutPrefixes(next.Status)):
		return next, Lazy
	}
	return next, Urgent
}

// withoutPrefixes takes away the counters that change all the time.
func withoutPrefixes(s v1alpha1.BGPNodeStateStatus) v1alpha1.BGPNodeStateStatus {
	s = *s.DeepCopy()
	s.RoutesLearned = 0
	for i := range s.Sessions {
		s.Sessions[i].PrefixesReceived, s.Sessions[i].PrefixesAdvertised = 0, 0
	}
	return s
}
