package route

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/hops"
)

// Early shows the hops of a trace that runs, as the nodes report them. The trace itself has them only when it has finished: to write
// them there before would wake the controller each time.
type Early struct {
	client.Reader
	told int // nodes whose hops were told
}

// Look returns the trace with the hops that nodes have reported so far; nil where there are no new ones.
func (e *Early) Look(ctx context.Context, trace *v1alpha1.PathTrace) (*v1alpha1.PathTrace, error) {
	if trace.Status.Phase != v1alpha1.TraceRunning {
		return nil, nil
	}
	var list v1alpha1.PathObservationList
	if err := e.List(ctx, &list, client.InNamespace(trace.Namespace), client.MatchingLabels{v1alpha1.LabelPathTrace: string(trace.UID)}); err != nil {
		return nil, fmt.Errorf("look at what the nodes have reported: %w", err)
	}
	s := hops.Sights{Seen: map[string]*v1alpha1.PathObservation{}}
	for i := range list.Items {
		if o := &list.Items[i]; len(o.Status.Packets) > 0 {
			s.Probe, s.Seen[o.Spec.Node] = o.Spec.Probe, o
		}
	}
	if len(s.Seen) <= e.told {
		return nil, nil
	}
	e.told = len(s.Seen)
	out := trace.DeepCopy()
	out.Status.Hops = s.All()
	return out, nil
}
