package report

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

// The most that the API takes of one claim.
const (
	maxPools  = 256
	maxBlocks = 1024
	maxCount  = 65536
	maxAsks   = 64
)

// claimLimits let a burst of pods ask for blocks quickly, and a quiet node not write at all.
var claimLimits = Limits{Gap: 20 * time.Millisecond, Burst: 10, Refill: time.Second, LazyAfter: 10 * time.Second}

// Rendered is how far the kernel has come with one pool.
type Rendered struct {
	UID        string
	Generation int64
	Sending    v1alpha1.Encapsulation
}

// Claim keeps the node's BlockClaim.
type Claim struct {
	writer *Writer[*v1alpha1.BlockClaim]

	mu       sync.Mutex
	shares   []addressbook.Share
	counted  bool                // shares are known
	rendered map[string]Rendered // by pool; nil before the first pass over the kernel
}

// Settings are what the three reports have in common.
type Settings struct {
	Client client.Client
	Node   string
	Log    logr.Logger
	// Observed is told how each write ended, by the kind of its object.
	Observed func(kind string, outcome Outcome)
	// Random returns a number from 0 up to 1. It spreads the writes of many nodes. Nil stands for the usual source.
	Random func() float64
}

func (s Settings) observe(kind string) func(Outcome) {
	return func(o Outcome) {
		if s.Observed != nil {
			s.Observed(kind, o)
		}
	}
}

// NewClaim returns the keeper of a node's BlockClaim. It creates the object when there is something to say.
func NewClaim(s Settings) *Claim {
	c := &Claim{}
	empty := func() *v1alpha1.BlockClaim {
		return &v1alpha1.BlockClaim{ObjectMeta: metav1.ObjectMeta{Name: s.Node}}
	}
	what := "BlockClaim " + s.Node
	c.writer = New(Options[*v1alpha1.BlockClaim]{
		What: what, API: object[*v1alpha1.BlockClaim]{client: s.Client, what: what, empty: empty}, Empty: empty,
		Spec: c.spec, Status: c.status, Limits: claimLimits, Random: s.Random, Log: s.Log, Observed: s.observe("BlockClaim"),
	})
	return c
}

// Run writes until the context ends.
func (c *Claim) Run(ctx context.Context) { c.writer.Run(ctx) }

// Recheck tells that somebody else may have changed or deleted the object, which is not watched.
func (c *Claim) Recheck() {
	c.writer.doubt()
	c.writer.Wake()
}

// SetShares says what the node has and wants of each pool.
func (c *Claim) SetShares(shares []addressbook.Share) {
	c.mu.Lock()
	c.shares, c.counted = shares, true
	c.mu.Unlock()
	c.writer.Wake()
}

// SetRendered says which generation of each pool the kernel shows.
func (c *Claim) SetRendered(pools map[string]Rendered) {
	c.mu.Lock()
	c.rendered = pools
	c.mu.Unlock()
	c.writer.Wake()
}

func (c *Claim) spec(stored *v1alpha1.BlockClaim) (*v1alpha1.BlockClaim, Urgency) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.counted {
		return stored, Unchanged // what an earlier run asked for stands
	}
	next := stored.DeepCopy()
	next.Spec.Pools = nil
	for _, s := range c.shares[:min(len(c.shares), maxPools)] {
		next.Spec.Pools = append(next.Spec.Pools, v1alpha1.PoolClaim{
			Pool: s.Pool, Wanted: count(s.Wanted), Waiting: count(s.Waiting), Held: texts(s.Held), Released: released(s.Released),
			Asks: asks(s.Asks), Given: given(s.Given),
		})
	}
	return next, specUrgency(stored.Spec, next.Spec)
}

func released(blocks []addressbook.Released) (out []v1alpha1.ReleasedBlock) {
	for _, b := range blocks {
		out = append(out, v1alpha1.ReleasedBlock{CIDR: b.CIDR.String(), UID: b.UID})
	}
	return out
}

// specUrgency is Urgent where pods wait, or blocks or loans go back, Lazy where less is asked for than before.
func specUrgency(before, after v1alpha1.BlockClaimSpec) Urgency {
	if equality.Semantic.DeepEqual(before, after) {
		return Unchanged
	}
	known := make(map[string]v1alpha1.PoolClaim, len(before.Pools))
	for _, p := range before.Pools {
		known[p.Pool] = p
	}
	for _, p := range after.Pools {
		b := known[p.Pool]
		if p.Waiting > b.Waiting || p.Wanted > b.Wanted || !slices.Equal(p.Released, b.Released) || !slices.Equal(p.Asks, b.Asks) || !slices.Equal(p.Given, b.Given) {
			return Urgent
		}
	}
	return Lazy
}

func (c *Claim) status(stored *v1alpha1.BlockClaim) (*v1alpha1.BlockClaim, Urgency) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.counted {
		return stored, Unchanged
	}
	known := make(map[string]v1alpha1.PoolReport, len(stored.Status.Pools))
	for _, p := range stored.Status.Pools {
		known[p.Pool] = p
	}
	next := stored.DeepCopy()
	next.Status.Pools = nil
	urgency := Unchanged
	for _, s := range c.shares[:min(len(c.shares), maxPools)] {
		before, reported := known[s.Pool]
		delete(known, s.Pool)
		report := before
		report.Pool, report.Free = s.Pool, count(s.Free)
		if shown, ok := c.rendered[s.Pool]; ok {
			report.PoolUID, report.ObservedGeneration, report.Encapsulation = shown.UID, shown.Generation, shown.Sending
		}
		next.Status.Pools = append(next.Status.Pools, report)
		urgency = max(urgency, reportUrgency(before, report, reported))
	}
	if len(known) > 0 {
		urgency = max(urgency, Lazy)
	}
	return next, urgency
}

func reportUrgency(before, after v1alpha1.PoolReport, reported bool) Urgency {
	free := after.Free
	after.Free = before.Free
	switch {
	case reported && after != before, !reported && after.PoolUID != "":
		return Urgent
	case !reported, free != before.Free:
		return Lazy
	}
	return Unchanged
}

func asks(addresses []netip.Addr) []string {
	var out []string
	for _, a := range addresses[:min(len(addresses), maxAsks)] {
		out = append(out, a.String())
	}
	return out
}

func given(loans []addressbook.Given) []v1alpha1.GivenLoan {
	var out []v1alpha1.GivenLoan
	for _, g := range loans[:min(len(loans), maxBlocks)] {
		out = append(out, v1alpha1.GivenLoan{CIDR: g.CIDR.String(), ID: g.ID})
	}
	return out
}

func count(n int) int32 { return int32(min(max(n, 0), maxCount)) }

// texts writes prefixes in order. The API takes a bounded number of them.
func texts(prefixes []netip.Prefix) []string {
	sorted := slices.SortedFunc(slices.Values(prefixes), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var out []string
	for _, p := range sorted[:min(len(sorted), maxBlocks)] {
		out = append(out, p.String())
	}
	return out
}
