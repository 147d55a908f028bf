package agent

import (
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/node-agent/cniserver"
	"github.com/causeway-net/causeway/node-agent/records"
	"github.com/causeway-net/causeway/node-agent/report"
)

// newEndpoints makes what serves the container runtime and keeps the pods' records.
func (a *Agent) newEndpoints() {
	api := records.NewAPI(a.api.Client, a.api.REST, a.options.Node)
	source := records.Source{Node: a.options.Node, Server: a.api.Client, Cache: a.api.Cache, OwnBlocks: a.view.OwnBlocks}
	people := report.Endpoints{Conditions: a.network, Events: a.events, Unrecorded: a.metrics.unrecorded.Set}
	a.queue = records.NewQueue(records.QueueOptions{
		API: api, Node: a.options.Node, Log: a.log, Refused: people.Refused, Pended: a.savePods,
		Gone: func(hostInterface string) { a.server.RecordGone(hostInterface) },
	})
	a.server = cniserver.New(cniserver.Options{
		Node: a.options.Node, Book: a.book, Records: a.queue, Wiring: a.wirer, Pools: a.pools, Health: a, Log: a.log, Observe: a.metrics.observeCall,
		NodeWith: a.view.NodeWith, Served: a.options.Socket + protocol.ServedSuffix,
	})
	a.records = records.NewKeeper(records.Options{
		Node: a.options.Node, API: api, Stored: source.Stored, Past: source.Past, PodGone: source.PodGone, PoolsOf: a.pools.Of, Pending: a.queue.Pending,
		Book: a.book, Links: a.wirer, Pods: a.server, Every: a.options.Resync, Log: a.log,
		Report: func(record *v1alpha1.WorkloadEndpoint, reason error) {
			a.log.Info("Ignores a WorkloadEndpoint of this node that its agent can't have written", "name", record.Namespace+"/"+record.Name, "reason", reason.Error())
			people.NotBelieved(record, reason)
		},
	})
}

// savePods has the checkpoint follow pods that come and go. While the API server is away it alone remembers a record whose
// pod and link are gone, so it is written before a DEL is answered.
func (a *Agent) savePods(p records.Pending) {
	switch {
	case p.Away && p.Removal:
		_ = a.saver.Save() // it logs
	case p.Away:
		a.saver.Wake(100 * time.Millisecond)
	default:
		a.saver.Wake(saveOthers)
	}
}
