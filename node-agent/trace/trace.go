package trace

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

const (
	// mostJobs is how many observations a node makes at a time. The controller asks for fewer.
	mostJobs = 16
	// lifetime is how long one may take. The controller gives up earlier.
	lifetime = 30 * time.Second
	// tooOld is the age of an observation that is not begun any more.
	tooOld = time.Minute
)

// Pods are the pods' links on this node.
type Pods interface {
	List() ([]veth.Found, error)
}

// Options are what the room needs.
type Options struct {
	Node string
	// Client writes statuses.
	Client client.Client
	Pods   Pods
	// VXLANPort is the UDP port of the node's VXLAN.
	VXLANPort uint16
	Now       func() time.Time
	Log       logr.Logger
}

// Tracer makes this node's observations. It is safe for concurrent use.
type Tracer struct {
	o    Options
	jobs sync.WaitGroup

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	waiting []*v1alpha1.PathObservation
	steps   map[client.ObjectKey]chan *v1alpha1.PathObservation
}

// New returns a tracer that begins with Run.
func New(o Options) *Tracer {
	return &Tracer{o: o, steps: map[client.ObjectKey]chan *v1alpha1.PathObservation{}}
}

// Run works until the context ends.
func (t *Tracer) Run(ctx context.Context) {
	t.mu.Lock()
	t.ctx = ctx
	waiting := t.waiting
	t.waiting = nil
	t.mu.Unlock()
	for _, o := range waiting {
		t.Set(o)
	}
	<-ctx.Done()
	t.mu.Lock()
	t.ctx = nil
	t.mu.Unlock()
	t.jobs.Wait()
}

// Set tells of an observation that has come or changed. It does not wait for anything.
func (t *Tracer) Set(o *v1alpha1.PathObservation) {
	done := o.Status.State == v1alpha1.ObservationDone || o.Status.State == v1alpha1.ObservationRefused
	if o.Spec.Node != t.o.Node || done || t.o.Now().Sub(o.CreationTimestamp.Time) > tooOld {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := client.ObjectKeyFromObject(o)
	if steps, running := t.steps[key]; running {
		select {
		case steps <- o:
		default: // the job has two steps to do already, and there are no more
		}
		return
	}
	if t.ctx == nil {
		if len(t.waiting) < mostJobs {
			t.waiting = append(t.waiting, o)
		}
		return
	}
	steps := make(chan *v1alpha1.PathObservation, 4)
	refuse := len(t.steps) >= mostJobs
	t.steps[key] = steps
	t.jobs.Go(func() {
		ctx, cancel := context.WithTimeout(t.ctx, lifetime)
		defer cancel()
		if refuse {
			t.write(ctx, o, v1alpha1.PathObservationStatus{State: v1alpha1.ObservationRefused, Message: fmt.Sprintf(
				"Node %s makes %d observations already; try again in some seconds.", t.o.Node, mostJobs)})
		} else {
			t.work(ctx, o, steps)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.steps, key)
	})
}

// Drop tells of an observation that is gone.
func (t *Tracer) Drop(o *v1alpha1.PathObservation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = slices.DeleteFunc(t.waiting, func(w *v1alpha1.PathObservation) bool { return w.UID == o.UID })
	if steps, running := t.steps[client.ObjectKeyFromObject(o)]; running {
		select {
		case steps <- nil:
		default: // it ends by itself soon
		}
	}
}

// work makes one observation: watch, send if asked, report.
func (t *Tracer) work(ctx context.Context, o *v1alpha1.PathObservation, steps <-chan *v1alpha1.PathObservation) {
	j, err := t.begin(o)
	if err != nil {
		t.write(ctx, o, v1alpha1.PathObservationStatus{State: v1alpha1.ObservationRefused, Message: sentence(err)})
		return
	}
	defer j.end()
	t.write(ctx, o, v1alpha1.PathObservationStatus{State: v1alpha1.ObservationWatching, Routes: j.firstRoutes(), Links: links()})
	for asked := o.Spec; ; {
		switch j.flow = uint16(asked.Flow); asked.Step {
		case v1alpha1.StepSend:
			t.write(ctx, o, j.report(ctx, j.send(ctx)))
			return
		case v1alpha1.StepFollow:
			t.write(ctx, o, j.report(ctx, j.follow(ctx)))
			return
		case v1alpha1.StepReport:
			t.write(ctx, o, j.report(ctx, nil))
			return
		}
		select {
		case next := <-steps:
			if next == nil {
				return
			}
			asked = next.Spec
		case <-ctx.Done():
			return
		}
	}
}

func sentence(err error) string {
	text := err.Error()
	return text[:min(len(text), 512)]
}

// write replaces the status.
func (t *Tracer) write(ctx context.Context, o *v1alpha1.PathObservation, s v1alpha1.PathObservationStatus) {
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/status", "value": s}})
	if err == nil {
		err = client.IgnoreNotFound(t.o.Client.Status().Patch(ctx, o.DeepCopy(), client.RawPatch(types.JSONPatchType, patch)))
	}
	if err != nil && ctx.Err() == nil {
		// Nobody must act: the controller names the nodes that are silent in the trace itself.
		t.o.Log.V(1).Info("Can't write what was seen of a path trace", "observation", o.Namespace+"/"+o.Name, "reason", err.Error())
	}
}
