package bgp

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// podWithin bounds one question about a pod.
	podWithin = 2 * time.Second
	// drainRetry is the pause after a question that the API server did not answer.
	drainRetry = 5 * time.Second
	// drainRecheck finds pods that left without anybody saying so.
	drainRecheck = 5 * time.Second
)

// keepDrained keeps the answer to whether this node is drained. A drained node withdraws what it announces, so that
// routers stop sending to it before it goes down.
func (l *Loop) keepDrained(ctx context.Context) {
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.drainWake:
		case <-later:
		}
		later = nil
		if again := l.updateDrained(ctx); again > 0 {
			later = time.After(again)
		}
	}
}

// updateDrained asks anew, and plans if the answer differs. It returns when to ask again by itself, 0 for never.
func (l *Loop) updateDrained(ctx context.Context) time.Duration {
	if !l.o.Objects.Cordoned(ctx) {
		clear(l.stays)
		l.setDrained(false)
		return 0
	}
	drained, err := l.onlyStayingPods(ctx)
	if err != nil {
		// The last answer stays: neither to withdraw a node with pods nor to announce a drained one again is right by accident.
		l.o.Log.V(1).Info("Can't tell yet whether this node is drained; will ask again", "reason", err.Error())
		return drainRetry
	}
	l.setDrained(drained)
	return drainRecheck
}

func (l *Loop) setDrained(drained bool) {
	if l.drained.Swap(drained) == drained {
		return
	}
	if drained {
		l.o.Log.Info("The node is drained: BGP withdraws what it announces")
	} else {
		l.o.Log.Info("The node is not drained any more: BGP announces again")
	}
	l.Wake()
}

// onlyStayingPods says whether all pods of the node stay on it while it is drained. It asks until the first one that does
// not, and asks once about each.
func (l *Loop) onlyStayingPods(ctx context.Context) (bool, error) {
	for _, e := range l.o.Book.Endpoints() {
		stays, known := l.stays[e.Interface]
		if !known {
			within, cancel := context.WithTimeout(ctx, podWithin)
			var err error
			stays, err = l.o.Pods.StaysInDrain(within, e.Namespace, e.Pod)
			cancel()
			if err != nil {
				return false, err
			}
			l.stays[e.Interface] = stays
		}
		if !stays {
			return false, nil
		}
	}
	return true, nil
}

// APIPods asks the API server about pods.
type APIPods struct {
	Client client.Reader
}

// StaysInDrain implements Pods. A drain leaves the pods of DaemonSets, and those that tolerate the taint of a cordoned
// node come back to it.
func (p APIPods) StaysInDrain(ctx context.Context, namespace, name string) (bool, error) {
	var pod corev1.Pod
	if err := p.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &pod); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if owner := metav1.GetControllerOf(&pod); owner != nil && owner.Kind == "DaemonSet" {
		return true, nil
	}
	cordoned := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	for i := range pod.Spec.Tolerations {
		if tolerates(&pod.Spec.Tolerations[i], &cordoned) {
			return true, nil
		}
	}
	return false, nil
}

// tolerates is the rule of the Kubernetes scheduler for a taint without a value.
func tolerates(t *corev1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	return t.Operator == corev1.TolerationOpExists || t.Value == taint.Value && t.Key != ""
}
