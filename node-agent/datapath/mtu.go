package datapath

import (
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

func (l *Loop) setMTUs(in plan.Input, plan plan.Plan) {
	byPool := make(map[string]int, len(plan.PodMTU))
	for _, m := range plan.PodMTU {
		byPool[m.Pool] = m.MTU
	}
	otherwise := in.V4.MTU
	if otherwise == 0 {
		otherwise = in.V6.MTU
	}
	l.o.Reporter.SetPodMTUs(byPool, otherwise)
}

// shrink lowers running pods' MTU where the plan asks for less than they were told before.
func (l *Loop) shrink(plan plan.Plan, endpoints []plan.Endpoint) {
	ready := make(map[string]bool, len(endpoints))
	for _, e := range endpoints {
		ready[e.Interface] = e.Ready
	}
	for name := range l.mtus {
		if !ready[name] {
			delete(l.mtus, name)
		}
	}
	for _, m := range plan.EndpointMTU {
		if known, ok := l.mtus[m.Interface]; !ready[m.Interface] || ok && known <= m.MTU {
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
}
