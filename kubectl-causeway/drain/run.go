package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

const (
	// lookEvery is the least time between two looks at the cluster. Where a look takes long, the pause is lookShare times as long.
	lookEvery = time.Second
	lookShare = 5
	// budgetRetry is the time after which a pod is tried again that a PodDisruptionBudget protects.
	budgetRetry = 3 * time.Second
	// heard is how long to wait until every node knows that the pool is disabled.
	heard = 30 * time.Second
)

// Options of a drain.
type Options struct {
	Pool string
	Wishes
	// Every is the time between two evictions.
	Every time.Duration
	// Wait says to wait until the last address and block have come back.
	Wait bool
	// DryRun says to change nothing.
	DryRun bool
	// WithoutReplacement says to go on although no other pool could serve the pods.
	WithoutReplacement bool
	// Say gets a sentence about each step.
	Say func(string)
}

// ErrKept says that pods with addresses of the pool were left alone.
var ErrKept = errors.New("some pods still have addresses of the pool")

type run struct {
	o      Options
	client client.Client
	next   time.Time // when the next pod may be evicted
	// refused are the pods that can't be evicted now, why, and since when.
	refused map[string]refusal
	last    string // what was said last of the progress
}

type refusal struct {
	why  string
	when time.Time
}

// Run drains a pool. It can be stopped at any time and run again: it goes by what it finds. It ends with ErrKept where pods are left that
// it does not evict.
func Run(ctx context.Context, c client.Client, o Options) error {
	r := &run{o: o, client: c, refused: map[string]refusal{}}
	if err := r.disable(ctx); err != nil {
		return err
	}
	for {
		began := time.Now()
		cluster, err := r.look(ctx)
		if err != nil {
			return err
		}
		pause := max(lookEvery, lookShare*time.Since(began))
		pods := Plan(cluster, o.Pool, o.Wishes)
		if o.DryRun {
			r.foretell(pods)
			return r.name(pods)
		}
		r.report(pods)
		done, err := r.done(cluster, pods)
		if done || err != nil {
			return err
		}
		if err := r.evict(ctx, with(pods, Evict)); err != nil {
			return err
		}
		if err := objects.Sleep(ctx, pause); err != nil {
			return r.stopped(err)
		}
	}
}

func (r *run) look(ctx context.Context) (*objects.Cluster, error) {
	cluster, err := objects.Look(ctx, r.client, Kinds...)
	if err != nil {
		return nil, fmt.Errorf("look at the pods of pool %s: %w", r.o.Pool, err)
	}
	for _, u := range cluster.Unread {
		return nil, fmt.Errorf("can't list %s, and a drain must know them all: %s", u.Kind, u.Why)
	}
	return cluster, nil
}

// disable stops new addresses of the pool, and waits until every node knows.
func (r *run) disable(ctx context.Context) error {
	var list v1alpha1.IPPoolList
	if err := r.client.List(ctx, &list); err != nil {
		return fmt.Errorf("list the IPPools: %w", err)
	}
	pool := find(&list, r.o.Pool)
	if pool == nil {
		return fmt.Errorf("there is no IPPool %s", r.o.Pool)
	}
	if err := Replacement(list.Items, pool); err != nil && !r.o.WithoutReplacement {
		return err
	}
	if r.o.DryRun {
		return nil
	}
	if !pool.Spec.Disabled {
		before := pool.DeepCopy()
		pool.Spec.Disabled = true
		if err := r.client.Patch(ctx, pool, client.MergeFrom(before)); err != nil {
			return fmt.Errorf("disable pool %s: %w", r.o.Pool, err)
		}
	}
	r.o.Say(fmt.Sprintf("Pool %s is disabled: it gives out no new address.", r.o.Pool))
	within, cancel := context.WithTimeout(ctx, heard)
	defer cancel()
	for !allKnow(pool) {
		if objects.Sleep(within, lookEvery/4) != nil {
			if ctx.Err() == nil {
				r.o.Say("Not every node has answered that it knows. A pod that starts there now may get an address of the pool, and is evicted again.")
			}
			break
		}
		if err := r.client.Get(ctx, client.ObjectKeyFromObject(pool), pool); err != nil {
			return fmt.Errorf("read pool %s: %w", r.o.Pool, err)
		}
	}
	return nil
}

func find(list *v1alpha1.IPPoolList, name string) *v1alpha1.IPPool {
	for i := range list.Items {
		if list.Items[i].Name == name {
			return &list.Items[i]
		}
	}
	return nil
}

func allKnow(pool *v1alpha1.IPPool) bool {
	return pool.DeletionTimestamp != nil || pool.Status.ObservedGeneration >= pool.Generation && pool.Status.NodesReady >= pool.Status.NodesTotal
}

// evict evicts pods, one after the other at the pace, and notes which ones can't be evicted now.
func (r *run) evict(ctx context.Context, pods []Pod) error {
	for _, p := range pods {
		if time.Since(r.refused[p.Key()].when) < budgetRetry {
			continue
		}
		if err := objects.Sleep(ctx, time.Until(r.next)); err != nil {
			return r.stopped(err)
		}
		object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
		uid := p.UID
		err := r.client.SubResource("eviction").Create(ctx, object, &policyv1.Eviction{
			ObjectMeta: object.ObjectMeta, DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}})
		switch {
		case err == nil:
			delete(r.refused, p.Key())
			r.next = time.Now().Add(r.o.Every)
		case apierrors.IsNotFound(err), apierrors.IsConflict(err): // it is another pod by now
		case forNow(err):
			r.refused[p.Key()] = refusal{why: because(err), when: time.Now()}
		default:
			return fmt.Errorf("evict pod %s: %w", p.Key(), err)
		}
	}
	return nil
}

// forNow says that an eviction may work later: a budget stands against it, two budgets do (an internal error, says the API server), or
// the API server is busy.
func forNow(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsTooManyRequests(err) || errors.As(err, &status) && status.Status().Code >= 500
}

// because is what the API server says of a budget, which is more than its first sentence.
func because(err error) string {
	text := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, c := range status.Status().Details.Causes {
			text += " " + c.Message
		}
	}
	return text
}

// report says how far the drain is, if that has changed.
func (r *run) report(pods []Pod) {
	left, leaving, stay := len(pods), len(with(pods, Leaving)), 0
	for _, v := range kept {
		stay += len(with(pods, v))
	}
	waiting, why := 0, ""
	for _, p := range with(pods, Evict) {
		if refused, ok := r.refused[p.Key()]; ok {
			waiting++
			if why == "" {
				why = fmt.Sprintf(" (%s: %s)", p.Key(), refused.why)
			}
		}
	}
	parts := []string{fmt.Sprintf("Pods with addresses of pool %s: %d", r.o.Pool, left)}
	for _, part := range []struct {
		count      int
		word, more string
	}{{leaving, "leaving", ""}, {stay, "not to be evicted", ""}, {waiting, "that can't be evicted yet", why}} {
		if part.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s%s", part.count, part.word, part.more))
		}
	}
	if text := strings.Join(parts, ", ") + "."; text != r.last {
		r.last = text
		r.o.Say(text)
	}
}

// done says whether there is nothing more to do, and names what is left.
func (r *run) done(c *objects.Cluster, pods []Pod) (bool, error) {
	pool := find(&c.Pools, r.o.Pool)
	leaving := len(with(pods, Leaving)) > 0
	switch {
	case pool == nil:
		r.o.Say(fmt.Sprintf("Pool %s is gone.", r.o.Pool))
		return true, nil
	case len(with(pods, Evict)) > 0, r.o.Wait && leaving:
		return false, nil
	}
	if err := r.name(pods); err != nil {
		return true, err
	}
	given := pool.Status.Blocks > 0 || pool.Status.Allocated > 0
	switch {
	case r.o.Wait && given:
		return false, nil
	case given || leaving:
		r.o.Say("Every pod has been asked to leave. The pool can be deleted; it goes when its last address has come back: kubectl delete ippool " + r.o.Pool)
	default:
		r.o.Say("The pool is empty: kubectl delete ippool " + r.o.Pool)
	}
	return true, nil
}

// name names the pods that are not evicted.
func (r *run) name(pods []Pod) error {
	var err error
	for _, v := range kept {
		some := with(pods, v)
		if len(some) == 0 {
			continue
		}
		r.o.Say(fmt.Sprintf("Not evicted: %s. %s", names(some), advice[v]))
		err = ErrKept
	}
	return err
}

// foretell says what a drain would do.
func (r *run) foretell(pods []Pod) {
	some := with(pods, Evict)
	if len(some) == 0 {
		r.o.Say("No pod would be evicted.")
		return
	}
	r.o.Say(fmt.Sprintf("Would disable pool %s and evict, one in %s: %s.", r.o.Pool, r.o.Every, names(some)))
}

func (r *run) stopped(err error) error {
	return fmt.Errorf("stopped before pool %s was empty (%w); the pool stays disabled, and the same command goes on", r.o.Pool, err)
}

func names(pods []Pod) string {
	out := make([]string, len(pods))
	for i, p := range pods {
		out[i] = p.Key()
	}
	return strings.Join(out, ", ")
}
