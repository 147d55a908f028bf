package simulation

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// stream is a watch as the API server serves it, without a cache in between.
type stream struct {
	w        *World
	p        *process
	kind     string
	position int
	initial  bool // all objects and a bookmark come first
	out      chan watch.Event
	stopped  bool
}

// Watch implements client.WithWatch.
func (c *conn) Watch(ctx context.Context, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
	o := client.ListOptions{}
	o.ApplyOptions(opts)
	s := &stream{w: c.w, p: c.p, kind: kindOf(list), out: make(chan watch.Event, 1<<12)}
	err := c.ask(ctx, "watch", s.kind, "", func() error {
		from, err := strconv.ParseUint(cmp.Or(o.Raw.ResourceVersion, "0"), 10, 64)
		if err != nil {
			return err
		}
		log := c.w.server.log[s.kind]
		s.initial = o.Raw.SendInitialEvents != nil && *o.Raw.SendInitialEvents
		s.position, _ = slices.BinarySearchFunc(log, from+1, func(c change, v uint64) int { return cmp.Compare(versionOf(c.object), v) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.streams.raw = append(c.streams.raw, s)
	return s, nil
}

func versionOf(o client.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("a version that is no number: %v", err))
	}
	return n
}

// Stop implements watch.Interface.
func (s *stream) Stop() { s.stopped = true }

// ResultChan implements watch.Interface.
func (s *stream) ResultChan() <-chan watch.Event { return s.out }

func (s *stream) key() string { return s.p.name + " streams " + s.kind }

func (s *stream) behind() bool {
	return !s.stopped && (s.initial || s.position < len(s.w.server.log[s.kind])) && len(s.out) < cap(s.out)/2
}

func (s *stream) advance(changes int) {
	switch {
	case s.initial:
		s.initial = false
		s.position = len(s.w.server.log[s.kind])
		for _, o := range s.w.server.list(s.kind) {
			s.out <- watch.Event{Type: watch.Added, Object: o.DeepCopyObject()}
		}
		mark := &v1alpha1.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.FormatUint(s.w.server.version, 10),
			Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
		s.out <- watch.Event{Type: watch.Bookmark, Object: mark}
	case changes == 0:
		s.stopped = true
		gone := apierrors.NewResourceExpired("the version is too old").Status()
		s.out <- watch.Event{Type: watch.Error, Object: &gone}
		close(s.out)
	default:
		for ; changes > 0 && s.behind(); changes-- {
			c := s.w.server.log[s.kind][s.position]
			s.position++
			kind := watch.Modified
			if c.gone {
				kind = watch.Deleted
			} else if c.created {
				kind = watch.Added
			}
			s.out <- watch.Event{Type: kind, Object: c.object.DeepCopyObject()}
		}
	}
}
