package records

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
	"github.com/causeway-net/causeway/node-agent/loops"
)

const (
	// gather is how long changes of links come together before they are looked at.
	gather = time.Second
	// youngRecord is a record that a cache may not show yet.
	youngRecord = 10 * time.Second
	// strayAfter is how long a record that the book does not know may stay: its deletion may be on its way.
	strayAfter  = 2 * time.Second
	recallPause = 500 * time.Millisecond
	// recallWithin bounds one try to read what an earlier run left.
	recallWithin = 10 * time.Second
)

var repairBackoff = backoff{2 * time.Second, time.Minute}

// Links shows the pods' links on the node.
type Links interface {
	// Links returns the host ends of ours.
	Links() ([]veth.Found, error)
	// List returns them with the addresses that are routed to them.
	List() ([]veth.Found, error)
}

// Pods changes endpoints in turn with the calls of the container runtime.
type Pods interface {
	// Mend makes a link again, unless the endpoint's DEL has come.
	Mend(ctx context.Context, hostInterface string) error
	// Rewrite has a record written again, unless the endpoint's DEL has come.
	Rewrite(ctx context.Context, hostInterface string) error
	// Release does what a DEL does.
	Release(ctx context.Context, e addressbook.Endpoint) error
	// Reap removes what is left of an endpoint whose state is Releasing. recorded says that it may have a record.
	Reap(e addressbook.Endpoint, recorded bool)
}

// Past is what an earlier run of the agent left in the API.
type Past struct {
	Records []v1alpha1.WorkloadEndpoint
	// Held are the blocks that the node has or had, Released those that it gave back.
	Held     []addressbook.Block
	Released []addressbook.Released
	// Given are the loans whose ranges it gave up.
	Given []addressbook.Given
}

// Options are what a Keeper is made of.
type Options struct {
	Node string
	API  API
	// Stored returns the node's records as the cache has them. They are not changed.
	Stored func() ([]*v1alpha1.WorkloadEndpoint, error)
	// Past reads from the API server what an earlier run had, but for the records.
	Past func(context.Context) (Past, error)
	// PodGone asks the API server whether a pod is deleted, another one, or on another node.
	PodGone func(ctx context.Context, e addressbook.Endpoint) (bool, error)
	// PoolsOf names the pools of an endpoint's addresses, "" for none.
	PoolsOf func(e addressbook.Endpoint) []string
	// Pending reports whether a record is about to be written or removed.
	Pending func(hostInterface string) bool
	Book    *addressbook.Book
	Links   Links
	Pods    Pods
	// Every is how often everything is compared without being asked.
	Every time.Duration
	Log   logr.Logger
	// Report tells people of a record that the agent does not believe.
	Report func(record *v1alpha1.WorkloadEndpoint, reason error)
	// Random is that of QueueOptions.
	Random func() float64
}

// Keeper reads records at the start, and repairs links and records that differ from the book. It has a pace of its own:
// nothing waits for it.
type Keeper struct {
	o     Options
	links chan struct{}
	lost  chan string
	seen  chan struct{}

	filling sync.Mutex // held while Recall or Remember fills the book
	begun   bool       // the book has what the node's links tell

	young time.Time // when a young endpoint without a record is looked at again; zero for never. Only Run uses it.

	mu          sync.Mutex
	recalled    bool              // the book has what the API tells
	strays      map[string]stray  // by namespace, name and UID
	unconfirmed map[string]bool   // endpoints that only a record tells of: no link is made for them
	patience    map[string]repair // by host interface
}

type stray struct {
	record *v1alpha1.WorkloadEndpoint
	due    time.Time
	tries  int
}

type repair struct {
	tries int
	due   time.Time
}

// NewKeeper returns a keeper.
func NewKeeper(o Options) *Keeper {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	return &Keeper{
		o: o, links: make(chan struct{}, 1), lost: make(chan string, 1024), seen: make(chan struct{}, 1),
		strays: map[string]stray{}, unconfirmed: map[string]bool{}, patience: map[string]repair{},
	}
}

// LinksChanged tells that links of pods may have come or gone.
func (k *Keeper) LinksChanged() { loops.Ring(k.links) }

// Lost tells of a record of this node that was deleted. If its pod is still there the record is written again.
func (k *Keeper) Lost(record *v1alpha1.WorkloadEndpoint) {
	e, known := k.o.Book.Get(record.Spec.Interface)
	if !known || e.State != addressbook.Ready || Name(e) != record.Name || e.Namespace != record.Namespace {
		return
	}
	select {
	case k.lost <- e.Interface:
	default: // the slow comparison will find it
	}
}

// Seen tells of a record of this node that has come or changed. One that the book does not know is looked at.
func (k *Keeper) Seen(record *v1alpha1.WorkloadEndpoint) {
	if k.backed(record) {
		return
	}
	k.mu.Lock()
	key := strayKey(record)
	if _, known := k.strays[key]; !known {
		k.strays[key] = stray{record: record, due: time.Now().Add(strayAfter)}
	}
	k.mu.Unlock()
	loops.Ring(k.seen)
}

func strayKey(r *v1alpha1.WorkloadEndpoint) string {
	return r.Namespace + "/" + r.Name + "/" + string(r.UID)
}

// backed reports whether the book says the same as a record, or knows better and deals with it.
func (k *Keeper) backed(record *v1alpha1.WorkloadEndpoint) bool {
	e, known := k.o.Book.Get(record.Spec.Interface)
	if !known || e.Namespace != record.Namespace || Name(e) != record.Name {
		return false
	}
	return e.State != addressbook.Ready || sameSpec(Record(e, k.o.Node).Spec, record.Spec)
}

// Run works until the context ends.
func (k *Keeper) Run(ctx context.Context) {
	slow := time.NewTicker(k.o.Every)
	defer slow.Stop()
	soon := time.NewTimer(0)
	defer soon.Stop()
	waiting := true // soon is running
	later := time.NewTimer(time.Hour)
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.links:
			if !waiting {
				waiting = true
				soon.Reset(gather)
			}
		case <-slow.C:
			k.inspect(ctx)
		case <-soon.C:
			waiting = false
			k.inspect(ctx)
		case key := <-k.lost:
			k.rewrite(ctx, key, "it was deleted while its pod runs")
		case <-k.seen:
		case <-later.C:
			k.inspect(ctx)
		}
		later.Reset(min(k.judge(ctx), k.nextRepair(), k.nextYoung()))
	}
}

func (k *Keeper) rewrite(ctx context.Context, key, why string) {
	if err := k.o.Pods.Rewrite(ctx, key); err != nil {
		k.o.Log.V(1).Info("Can't write a record again yet", "interface", key, "reason", err.Error())
		return
	}
	k.o.Log.Info("Writes a WorkloadEndpoint again", "interface", key, "why", why)
}

// inspect compares book, records and links: it mends links, has missing records written, and lets go of endpoints whose
// pod is gone.
func (k *Keeper) inspect(ctx context.Context) {
	links, err := k.o.Links.Links()
	if err != nil {
		k.o.Log.Error(err, "Can't list the pods' links; will try again")
		return
	}
	whole := make(map[string]bool, len(links))
	for _, l := range links {
		whole[l.HostInterface] = l.Complete && !l.Deleted
	}
	recorded, known := k.recorded()
	endpoints := k.o.Book.Endpoints()
	k.forget(endpoints, whole)
	k.young = time.Time{}
	for _, e := range endpoints {
		if e.State != addressbook.Ready || ctx.Err() != nil {
			continue
		}
		lost := known && !recorded[e.Namespace+"/"+Name(e)]
		switch {
		case !whole[e.Interface]:
			k.mendOrRelease(ctx, e, lost, replaced(e, endpoints, whole))
		case !lost || k.o.Pending(e.Interface):
		case time.Since(e.Since) > youngRecord:
			k.rewrite(ctx, e.Interface, "it is missing")
		case k.young.IsZero() || e.Since.Add(youngRecord).Before(k.young):
			k.young = e.Since.Add(youngRecord)
		}
	}
}

// nextYoung is how long until an endpoint, for whose record it is too early, is looked at again.
func (k *Keeper) nextYoung() time.Duration {
	if k.young.IsZero() {
		return time.Hour
	}
	return max(time.Until(k.young)+time.Millisecond, 10*time.Millisecond)
}

// recorded returns the records that the cache shows, by namespace and name. It reports false as long as nobody knows.
func (k *Keeper) recorded() (map[string]bool, bool) {
	if !k.isRecalled() {
		return nil, false
	}
	stored, err := k.o.Stored()
	if err != nil {
		k.o.Log.Error(err, "Can't list WorkloadEndpoints in the cache; will try again")
		return nil, false
	}
	out := make(map[string]bool, len(stored))
	for _, r := range stored {
		out[r.Namespace+"/"+r.Name] = true
	}
	return out, true
}

func (k *Keeper) isRecalled() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.recalled
}

// forget drops notes about endpoints that are gone or well.
func (k *Keeper) forget(endpoints []addressbook.Endpoint, whole map[string]bool) {
	ill := map[string]bool{}
	for _, e := range endpoints {
		ill[e.Interface] = e.State == addressbook.Ready && !whole[e.Interface]
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.patience {
		if !ill[key] {
			delete(k.patience, key)
		}
	}
	for key := range k.unconfirmed {
		if !ill[key] {
			delete(k.unconfirmed, key)
		}
	}
}

// mendOrRelease deals with an endpoint that has no whole link. Where its namespace is gone the pod is gone. Where it is
// there the link is made again, unless only a record or a checkpoint tells of the endpoint; and if that does not help, the
// API says whether the pod is gone. lost says that it has no record either, superseded that a newer sandbox of the pod has
// taken its place.
func (k *Keeper) mendOrRelease(ctx context.Context, e addressbook.Endpoint, lost, superseded bool) {
	k.mu.Lock()
	r, unconfirmed := k.patience[e.Interface], k.unconfirmed[e.Interface]
	k.mu.Unlock()
	why := ""
	switch {
	case e.NetworkNamespace != "" && veth.NamespaceGone(e.NetworkNamespace):
		why = "its network namespace is gone"
	case superseded:
		why = "a newer sandbox of the pod has taken its place"
	case unconfirmed && lost:
		why = "it has neither a link nor a record; an old checkpoint alone tells of it"
	}
	if why != "" {
		k.release(ctx, e, why)
		return
	}
	if time.Now().Before(r.due) {
		return
	}
	if e.NetworkNamespace != "" && !unconfirmed {
		err := k.o.Pods.Mend(ctx, e.Interface)
		if err == nil {
			k.o.Log.Info("Mended a pod's link", "pod", e.Namespace+"/"+e.Pod, "interface", e.Interface)
			return
		}
		if r.tries == 0 {
			k.o.Log.Error(err, "Can't mend a pod's link; will try again", "pod", e.Namespace+"/"+e.Pod, "interface", e.Interface)
		}
	}
	r.tries++
	r.due = time.Now().Add(repairBackoff.pause(r.tries, k.o.Random))
	k.mu.Lock()
	k.patience[e.Interface] = r
	k.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	gone, err := k.o.PodGone(within, e)
	if err != nil {
		k.o.Log.V(1).Info("Can't ask whether a pod without a link is gone; will try again", "pod", e.Namespace+"/"+e.Pod, "reason", err.Error())
		return
	}
	if gone {
		k.release(ctx, e, "its pod is deleted, and it has no link")
	}
}

func (k *Keeper) release(ctx context.Context, e addressbook.Endpoint, why string) {
	if err := k.o.Pods.Release(ctx, e); err != nil {
		k.o.Log.V(1).Info("Can't release the addresses of a pod that is gone yet", "pod", e.Namespace+"/"+e.Pod, "reason", err.Error())
		return
	}
	k.o.Log.Info("Releases the addresses of a pod that is gone", "pod", e.Namespace+"/"+e.Pod, "addresses", e.Addresses, "why", why)
}

// replaced reports whether a newer sandbox of the same pod has a link. A pod has one sandbox at a time.
func replaced(e addressbook.Endpoint, all []addressbook.Endpoint, whole map[string]bool) bool {
	return slices.ContainsFunc(all, func(other addressbook.Endpoint) bool {
		samePod := other.Namespace == e.Namespace && other.Pod == e.Pod && other.PodUID == e.PodUID && other.ContainerInterface == e.ContainerInterface
		return samePod && other.ContainerID != e.ContainerID && other.State == addressbook.Ready && whole[other.Interface] && other.Since.After(e.Since)
	})
}

// nextRepair is how long until an endpoint without a link is tried again.
func (k *Keeper) nextRepair() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := time.Hour
	for _, r := range k.patience {
		next = min(next, max(time.Until(r.due), 10*time.Millisecond))
	}
	return next
}

// judge looks at the records that the book does not know, and returns how long until the next one is due.
func (k *Keeper) judge(ctx context.Context) time.Duration {
	if !k.isRecalled() {
		return time.Hour // Recall wakes the keeper
	}
	k.mu.Lock()
	var due []stray
	next := time.Hour
	for key, s := range k.strays {
		if wait := time.Until(s.due); wait > 0 {
			next = min(next, wait)
			continue
		}
		due = append(due, s)
		delete(k.strays, key)
	}
	k.mu.Unlock()
	if len(due) == 0 {
		return next
	}
	stored, err := k.o.Stored()
	there := map[string]bool{}
	for _, r := range stored {
		there[strayKey(r)] = true
	}
	for _, s := range due {
		if err == nil && (!there[strayKey(s.record)] || k.backed(s.record)) {
			continue
		}
		if err == nil && k.settle(ctx, s) {
			continue
		}
		s.tries++
		s.due = time.Now().Add(repairBackoff.pause(s.tries, k.o.Random))
		k.mu.Lock()
		k.strays[strayKey(s.record)] = s
		k.mu.Unlock()
		next = min(next, time.Until(s.due))
	}
	return next
}

// settle deals with one stray record and reports whether that is done. A record that no agent can have written is
// reported, and stays: a person may want to look at it. One that fits is of an earlier try that came late, and goes.
func (k *Keeper) settle(ctx context.Context, s stray) bool {
	e, err := k.believe(s.record, nil)
	if err != nil {
		k.o.Report(s.record, err)
		return true
	}
	if known, ok := k.o.Book.Get(e.Interface); ok && known.State == addressbook.Ready {
		k.rewrite(ctx, e.Interface, "the API has one of an earlier try")
		return true
	}
	within, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	if err := k.o.API.Delete(within, s.record.Namespace, s.record.Name, s.record.UID); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return false
	}
	k.o.Log.Info("Removed a WorkloadEndpoint that came after its pod had gone", "name", s.record.Namespace+"/"+s.record.Name)
	return true
}

// believe returns the endpoint of a record whose parts fit together and whose addresses lie in blocks of this node, or are
// routed to its own link.
func (k *Keeper) believe(record *v1alpha1.WorkloadEndpoint, link *veth.Found) (addressbook.Endpoint, error) {
	e, err := Endpoint(record, k.o.Node)
	if err != nil {
		return e, err
	}
	for _, a := range e.Addresses {
		if !k.o.Book.Owns(a) && (link == nil || !slices.Contains(link.Addresses, a)) {
			return e, fmt.Errorf("its address %s is in no block of this node", a)
		}
	}
	return e, nil
}
