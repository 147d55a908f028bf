package report

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/loops"
)

const (
	// eventQueue is how many events wait at most. The status of the objects has the last word anyway.
	eventQueue = 64
	// eventGap is the least time between two events.
	eventGap = 100 * time.Millisecond
)

// Events tell people what happened on this node. They are a courtesy: nobody waits for them, and none is repeated.
type Events struct {
	s     Settings
	uid   func() types.UID // of the NodeNetwork that they are about
	queue chan *corev1.Event
}

// NewEvents returns a sender of events about the node's NodeNetwork.
func NewEvents(s Settings, about *Network) *Events {
	return &Events{s: s, uid: about.writer.uid, queue: make(chan *corev1.Event, eventQueue)}
}

// Event sends an event of a type (Normal or Warning) for a reason, with a sentence. It returns at once.
func (e *Events) Event(kind, reason, message string) {
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: e.s.Node + "."},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeNetwork", Name: e.s.Node, UID: e.uid(),
		},
		Type: kind, Reason: reason, Message: message, FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source: corev1.EventSource{Component: "causeway-agent", Host: e.s.Node},
	}
	select {
	case e.queue <- event:
	default:
	}
}

// Run sends events until the context ends.
func (e *Events) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-e.queue:
			within, cancel := context.WithTimeout(ctx, callWithin)
			if err := e.s.Client.Create(within, event); err != nil {
				e.s.Log.V(1).Info("Can't send an event", "event", event.Message, "reason", err.Error())
			}
			cancel()
			if !loops.Sleep(ctx, eventGap) {
				return
			}
		}
	}
}
