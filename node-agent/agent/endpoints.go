package agent

import (
	"context"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cniserver"
)

// youngEndpoint is an endpoint that a cache or a list may not show yet.
const youngEndpoint = 10 * time.Second

// recordLost is told of every WorkloadEndpoint of this node that was deleted. If its pod is still there the record is
// written again.
func (a *Agent) recordLost(record *v1alpha1.WorkloadEndpoint) {
	e, known := a.book.Get(record.Spec.Interface)
	if !known || e.State != addressbook.Ready || cniserver.RecordName(e) != record.Name || e.Namespace != record.Namespace {
		return
	}
	select {
	case a.rewrites <- e.Interface:
	default: // the slow resync will find it
	}
}

// recordSeen enters records that somebody else wrote in this node's name: their addresses are not given out.
func (a *Agent) recordSeen(record *v1alpha1.WorkloadEndpoint) {
	if _, known := a.book.Get(record.Spec.Interface); !known && record.Spec.Interface != "" && record.DeletionTimestamp == nil {
		a.strangers.Store(record.Spec.Interface, record.DeepCopy())
	}
}

// keepRecords writes lost records again, one after the other, until the context ends.
func (a *Agent) keepRecords(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case key := <-a.rewrites:
			if err := a.server.Rewrite(ctx, key); err != nil {
				a.log.V(1).Info("Can't write a record again yet", "interface", key, "reason", err.Error())
				continue
			}
			a.log.Info("Wrote a record again that was deleted while its pod runs", "interface", key)
		}
	}
}

// inspectEndpoints compares book, records and links: it mends links, writes missing records, and lets go of endpoints whose
// pod is gone for good. It is the slow part of the loop, and its reads come from the cache but for pods in doubt.
func (a *Agent) inspectEndpoints(ctx context.Context) {
	links, err := a.wirer.List()
	if err != nil {
		a.log.Error(err, "Can't list the pods' links")
		return
	}
	linked := make(map[string]bool, len(links))
	for _, l := range links {
		linked[l.HostInterface] = l.Complete
	}
	var list v1alpha1.WorkloadEndpointList
	if err := a.api.Cache.List(ctx, &list); err != nil {
		a.log.Error(err, "Can't list WorkloadEndpoints in the cache")
		return
	}
	recorded := make(map[string]*v1alpha1.WorkloadEndpoint, len(list.Items))
	for i := range list.Items {
		recorded[list.Items[i].Spec.Interface] = &list.Items[i]
	}
	a.adoptStrangers(recorded)
	for _, e := range a.book.Endpoints() {
		if e.State != addressbook.Ready || ctx.Err() != nil {
			continue
		}
		if !linked[e.Interface] {
			a.mendOrRelease(ctx, e)
		} else if recorded[e.Interface] == nil && time.Since(e.Since) > youngEndpoint {
			if err := a.server.Rewrite(ctx, e.Interface); err != nil {
				a.log.V(1).Info("Can't write a record again yet", "interface", e.Interface, "reason", err.Error())
			}
		}
	}
}

func (a *Agent) adoptStrangers(recorded map[string]*v1alpha1.WorkloadEndpoint) {
	a.strangers.Range(func(key, value any) bool {
		a.strangers.Delete(key)
		if recorded[key.(string)] != nil {
			a.book.Adopt(cniserver.Endpoint(value.(*v1alpha1.WorkloadEndpoint)))
		}
		return true
	})
}

// mendOrRelease deals with an endpoint that has a record but no whole link.
func (a *Agent) mendOrRelease(ctx context.Context, e addressbook.Endpoint) {
	if e.NetworkNamespace != "" {
		if _, err := os.Stat(e.NetworkNamespace); err == nil {
			if err := a.server.Mend(ctx, e.Interface); err != nil {
				a.log.Error(err, "Can't mend a pod's link", "pod", e.Namespace+"/"+e.Pod, "interface", e.Interface)
			} else {
				a.log.Info("Mended a pod's link", "pod", e.Namespace+"/"+e.Pod, "interface", e.Interface)
			}
			return
		}
	}
	if time.Since(e.Since) < youngEndpoint || !a.podGone(ctx, e) {
		return
	}
	if err := a.server.Release(ctx, e); err != nil {
		a.log.V(1).Info("Can't release the address of a pod that is gone yet", "pod", e.Namespace+"/"+e.Pod, "reason", err.Error())
		return
	}
	a.log.Info("Released the addresses of a pod that is gone", "pod", e.Namespace+"/"+e.Pod, "addresses", e.Addresses)
}

// podGone reports whether nothing can come back for an endpoint that has no link: its pod is deleted or another one, or
// a newer sandbox of the pod has taken its place.
func (a *Agent) podGone(ctx context.Context, e addressbook.Endpoint) bool {
	for _, other := range a.book.Endpoints() {
		if other.Interface != e.Interface && other.Namespace == e.Namespace && other.Pod == e.Pod && other.PodUID == e.PodUID &&
			other.ContainerInterface == e.ContainerInterface && other.State == addressbook.Ready && other.Since.After(e.Since) {
			return true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	var pod corev1.Pod
	err := a.api.Client.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: e.Pod}, &pod)
	if apierrors.IsNotFound(err) {
		return true
	}
	return err == nil && (e.PodUID != "" && string(pod.UID) != e.PodUID || pod.Spec.NodeName != a.options.Node)
}
