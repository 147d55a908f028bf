package agent

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cniserver"
	"github.com/causeway-net/causeway/node-agent/records"
)

// newEndpoints makes what serves the container runtime and keeps the pods' records.
func (a *Agent) newEndpoints() {
	api := records.NewAPI(a.api.Client, a.api.REST, a.options.Node)
	a.queue = records.NewQueue(records.QueueOptions{
		API: api, Node: a.options.Node, Log: a.log, Refused: a.noteRefusedRecords, Pended: a.savePods,
		Gone: func(hostInterface string) { a.server.RecordGone(hostInterface) },
	})
	a.server = cniserver.New(cniserver.Options{
		Node: a.options.Node, Book: a.book, Records: a.queue, Wiring: a.wirer, Pools: a.pools, Health: a, Log: a.log, Observe: a.metrics.observeCall,
	})
	a.records = records.NewKeeper(records.Options{
		Node: a.options.Node, API: api, Stored: a.storedRecords, Past: a.past, PodGone: a.podGone, PoolsOf: a.pools.Of, Pending: a.queue.Pending,
		Book: a.book, Links: a.wirer, Pods: a.server, Every: a.options.Resync, Log: a.log, Report: a.noteUnbelievedRecord,
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

// storedRecords returns the node's records as the cache has them.
func (a *Agent) storedRecords() ([]*v1alpha1.WorkloadEndpoint, error) {
	var list v1alpha1.WorkloadEndpointList
	if err := a.api.Cache.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	out := make([]*v1alpha1.WorkloadEndpoint, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

// past reads from the API server which blocks an earlier run had.
func (a *Agent) past(ctx context.Context) (records.Past, error) {
	var claim v1alpha1.BlockClaim
	if err := a.api.Client.Get(ctx, client.ObjectKey{Name: a.options.Node}, &claim); client.IgnoreNotFound(err) != nil {
		return records.Past{}, fmt.Errorf("get BlockClaim %s: %w", a.options.Node, err)
	}
	var past records.Past
	for _, b := range a.view.OwnBlocks() {
		past.Held = append(past.Held, addressbook.Block{CIDR: b.CIDR, Pool: b.Pool})
	}
	for _, p := range claim.Spec.Pools {
		for _, text := range p.Held {
			if cidr, err := netip.ParsePrefix(text); err == nil {
				past.Held = append(past.Held, addressbook.Block{CIDR: cidr.Masked(), Pool: p.Pool})
			}
		}
		for _, text := range p.Released {
			if cidr, err := netip.ParsePrefix(text); err == nil {
				past.Released = append(past.Released, cidr.Masked())
			}
		}
	}
	return past, nil
}

// podGone asks the API server whether an endpoint's pod is deleted, another one, or on another node.
func (a *Agent) podGone(ctx context.Context, e addressbook.Endpoint) (bool, error) {
	var pod corev1.Pod
	err := a.api.Client.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: e.Pod}, &pod)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get pod %s/%s: %w", e.Namespace, e.Pod, err)
	}
	return e.PodUID != "" && string(pod.UID) != e.PodUID || pod.Spec.NodeName != a.options.Node, nil
}

// noteRefusedRecords says in condition, metric and event which pods the API server lets the node write no record for.
func (a *Agent) noteRefusedRecords(refused []records.Refusal) {
	unrecorded := 0
	for _, r := range refused {
		if !r.Removal {
			unrecorded++
		}
	}
	a.metrics.unrecorded.Set(float64(unrecorded))
	if len(refused) == 0 {
		a.network.SetCondition(v1alpha1.ConditionEndpointsRecorded, metav1.ConditionTrue, "AllRecorded", "Every pod's WorkloadEndpoint can be written.")
		return
	}
	first := refused[0]
	what := "written for"
	if first.Removal {
		what = "removed for the deleted"
	}
	message := fmt.Sprintf("The API server refuses %d WorkloadEndpoints of this node; the pods run all the same. The first can't be %s pod %s/%s: %v. Change what refuses it (a quota, an admission rule); the node tries again by itself.",
		len(refused), what, first.Endpoint.Namespace, first.Endpoint.Pod, first.Reason)
	a.network.SetCondition(v1alpha1.ConditionEndpointsRecorded, metav1.ConditionFalse, "Refused", message[:min(len(message), 1024)])
	a.events.Event(corev1.EventTypeWarning, "EndpointNotRecorded", message[:min(len(message), 1024)])
}

// noteUnbelievedRecord tells people of a record in this node's name that this agent can't have written.
func (a *Agent) noteUnbelievedRecord(record *v1alpha1.WorkloadEndpoint, reason error) {
	name := record.Namespace + "/" + record.Name
	a.log.Info("Ignores a WorkloadEndpoint of this node that its agent can't have written", "name", name, "reason", reason.Error())
	a.events.Event(corev1.EventTypeWarning, "EndpointNotBelieved",
		fmt.Sprintf("The node ignores WorkloadEndpoint %s: %v. If no agent is being replaced, somebody else has written it; delete it.", name, reason))
}
