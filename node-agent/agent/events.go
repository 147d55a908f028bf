package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// event tells people about something that happened on this node. It does not wait: events are a courtesy.
func (a *Agent) event(kind, reason, message string) {
	now := metav1.Now()
	e := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: a.options.Node + "."},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeNetwork", Name: a.options.Node,
		},
		Type: kind, Reason: reason, Message: message, FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source: corev1.EventSource{Component: "causeway-agent", Host: a.options.Node},
	}
	if own, ok := a.ownNetwork(context.Background()); ok {
		e.InvolvedObject.UID = own.UID
	}
	select {
	case a.events <- e:
	default: // too many at once; the status has the last word anyway
	}
}

// keepEvents sends events until the context ends, not more than a few a second.
func (a *Agent) keepEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-a.events:
			within, cancel := context.WithTimeout(ctx, writeWithin)
			if err := a.api.client.Create(within, e); err != nil {
				a.log.V(1).Info("Can't send an event", "event", e.Message, "reason", err.Error())
			}
			cancel()
			if !sleep(ctx, 100*time.Millisecond) {
				return
			}
		}
	}
}
