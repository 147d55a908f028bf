package datapath

import (
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

func (l *Loop) setMTUs(in plan.Input) {
	known := l.planner.PodMTU()
	byPool := make(map[string]int, len(known))
	for _, m := range known {
		byPool[m.Pool] = m.MTU
	}
	otherwise := in.V4.MTU
	if otherwise == 0 {
		otherwise = in.V6.MTU
	}
	l.o.Reporter.SetPodMTUs(byPool, otherwise)
}

// shrink lowers running pods' MTU where the plan asks for less than they were told before.
func (l *Loop) shrink() {
	wanted := l.planner.EndpointMTU()
	there := make(map[string]bool, len(wanted))
	for _, m := range wanted {
		there[m.Interface] = true
		if known, ok := l.mtus[m.Interface]; ok && known <= m.MTU {
			continue
		}
		e, known := l.o.Book.Get(m.Interface)
		if !known || e.State != addressbook.Ready || e.NetworkNamespace == "" {
			continue
		}
		if err := l.o.Pods.ShrinkMTU(e.Interface, e.ContainerInterface, e.NetworkNamespace, m.MTU); err != nil {
			l.o.Log.V(1).Info("Can't set a pod's MTU", "pod", e.Namespace+"/"+e.Pod, "reason", err.Error())
			continue
		}
		l.mtus[m.Interface] = m.MTU
	}
	for name := range l.mtus {
		if !there[name] {
			delete(l.mtus, name)
		}
	}
}
