package traces

import (
	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/hops"
)

// Short names for what is compared most.
const (
	legRequest, legReply, legError, legTunnel = hops.Request, hops.Reply, hops.Error, hops.Tunnel
	in, out                                   = hops.In, hops.Out
)

// Story is what the observations tell.
type Story struct {
	Hops []v1alpha1.PathHop
	End  v1alpha1.PathEnd
}

// Tell makes the story. have are the observations by node; silent are the nodes that have not answered.
func Tell(f *Facts, have map[string]*v1alpha1.PathObservation, silent []string) Story {
	if f.End != nil {
		return Story{End: *f.End}
	}
	t := teller{Sights: hops.Sights{Probe: f.Probe, Seen: have}, f: f, silent: silent}
	t.hops = t.All()
	return Story{Hops: t.hops[:min(len(t.hops), hops.Most)], End: t.end()}
}

// teller is a story that is being made.
type teller struct {
	hops.Sights
	f      *Facts
	silent []string
	hops   []v1alpha1.PathHop
}
