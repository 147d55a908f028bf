package pools

import (
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// rollout says how far the nodes are with the pool's generation.
type rollout struct {
	total int
	// prepared is the number of nodes that can receive this generation (or have said that they never can), behind are the others.
	prepared int
	behind   []string
	// ready are the nodes that also send with the spec's encapsulation.
	ready []string
	// pending are the nodes that are still on their way, joining those of them that have just come.
	pending, joining []string
	// lacking are the nodes whose kernel can't do it. They hold nobody up once they have said so.
	lacking []string
}

// received says that every live node can receive what the spec asks for, so that all may begin to send it. Where no agent lives,
// nobody has said so.
func (r rollout) received() bool { return r.total > 0 && r.prepared == r.total }

// awaited are the nodes that hold the others up: no node sends before all can receive.
func (r rollout) awaited() []string {
	if len(r.behind) > 0 {
		return r.behind
	}
	return r.pending
}

func readRollout(f Facts) rollout {
	r := rollout{total: len(f.Nodes)}
	spec := &f.Object.Spec
	for _, n := range f.Nodes {
		prepared := n.ObservedGeneration >= f.Object.Generation
		if prepared {
			r.prepared++
		} else {
			r.behind = append(r.behind, n.Name)
		}
		able := canDo(n.Encapsulations, spec.Encapsulation)
		if !able {
			r.lacking = append(r.lacking, n.Name)
		}
		switch {
		case prepared && able && n.Sends == spec.Encapsulation:
			r.ready = append(r.ready, n.Name)
		case !prepared || able:
			r.pending = append(r.pending, n.Name)
			if n.Joining {
				r.joining = append(r.joining, n.Name)
			}
		}
	}
	return r
}

// canDo says whether a kernel can do an encapsulation. A node that has reported nothing yet is given the benefit of the doubt.
func canDo(has []v1alpha1.Encapsulation, e v1alpha1.Encapsulation) bool {
	needs := module(e)
	return needs == "" || len(has) == 0 ||
		slices.ContainsFunc(has, func(h v1alpha1.Encapsulation) bool { return module(h) == needs })
}

// module is the kernel module that an encapsulation needs.
func module(e v1alpha1.Encapsulation) string {
	switch {
	case strings.HasPrefix(string(e), string(v1alpha1.EncapsulationIPIP)):
		return "ipip"
	case strings.HasPrefix(string(e), string(v1alpha1.EncapsulationVXLAN)):
		return "vxlan"
	}
	return ""
}
