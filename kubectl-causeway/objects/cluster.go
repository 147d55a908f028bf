package objects

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Kind is a kind of objects, by the plural that kubectl knows.
type Kind string

// The kinds that commands read.
const (
	IPPools           Kind = "ippools"
	IPReservations    Kind = "ipreservations"
	StickyAddresses   Kind = "stickyaddresses"
	IPBlocks          Kind = "ipblocks"
	WorkloadEndpoints Kind = "workloadendpoints"
	NodeNetworks      Kind = "nodenetworks"
	BlockClaims       Kind = "blockclaims"
	BGPNodeStates     Kind = "bgpnodestates"
	BGPPeers          Kind = "bgppeers"
	BGPConfigurations Kind = "bgpconfigurations"
	BGPFilters        Kind = "bgpfilters"
	Nodes             Kind = "nodes"
	Pods              Kind = "pods"
	Events            Kind = "events"
	// Leases, SystemPods, DaemonSets and Deployments are those of Causeway's namespace.
	Leases      Kind = "leases"
	SystemPods  Kind = "pods of " + v1alpha1.SystemNamespace
	DaemonSets  Kind = "daemonsets"
	Deployments Kind = "deployments"
)

// Cluster is what one look at the API showed.
type Cluster struct {
	// Now is the time by the API server's clock: this machine's may differ.
	Now time.Time
	// Server is the API server's version.
	Server string

	Pools          v1alpha1.IPPoolList
	Reservations   v1alpha1.IPReservationList
	Sticky         v1alpha1.StickyAddressList
	Blocks         v1alpha1.IPBlockList
	Endpoints      v1alpha1.WorkloadEndpointList
	Networks       v1alpha1.NodeNetworkList
	Claims         v1alpha1.BlockClaimList
	States         v1alpha1.BGPNodeStateList
	Peers          v1alpha1.BGPPeerList
	Configurations v1alpha1.BGPConfigurationList
	Filters        v1alpha1.BGPFilterList
	Nodes          corev1.NodeList
	Pods           corev1.PodList
	SystemPods     corev1.PodList
	Leases         coordinationv1.LeaseList
	Events         corev1.EventList
	DaemonSets     appsv1.DaemonSetList
	Deployments    appsv1.DeploymentList

	// Unread are the kinds that could not be listed, sorted.
	Unread []Unread
}

// Unread is a kind that could not be listed.
type Unread struct {
	Kind Kind   `json:"kind"`
	Why  string `json:"why"`
}

// NoSuchKind is why a kind is unread that the API server does not know.
const NoSuchKind = "the cluster has no such kind"

// Read says whether all of these kinds could be listed.
func (c *Cluster) Read(kinds ...Kind) bool {
	return !slices.ContainsFunc(c.Unread, func(u Unread) bool { return slices.Contains(kinds, u.Kind) })
}

// lists are the places of all kinds.
func (c *Cluster) lists() map[Kind]client.ObjectList {
	return map[Kind]client.ObjectList{
		IPPools: &c.Pools, IPReservations: &c.Reservations, StickyAddresses: &c.Sticky, IPBlocks: &c.Blocks, WorkloadEndpoints: &c.Endpoints, NodeNetworks: &c.Networks, BlockClaims: &c.Claims,
		BGPNodeStates: &c.States, BGPPeers: &c.Peers, BGPConfigurations: &c.Configurations, BGPFilters: &c.Filters,
		Nodes: &c.Nodes, Pods: &c.Pods, Leases: &c.Leases, SystemPods: &c.SystemPods, Events: &c.Events,
		DaemonSets: &c.DaemonSets, Deployments: &c.Deployments,
	}
}

// List returns one of the lists.
func (c *Cluster) List(kind Kind) client.ObjectList { return c.lists()[kind] }

// inSystem are the kinds that are read in Causeway's namespace only.
var inSystem = []Kind{Leases, SystemPods, DaemonSets, Deployments}

// Look lists kinds. What the caller may not read is noted in the Cluster; an API server that does not answer is an error.
func Look(ctx context.Context, c client.Reader, kinds ...Kind) (*Cluster, error) {
	out := &Cluster{Now: time.Now()}
	var mu sync.Mutex
	var group sync.WaitGroup
	var failed []error
	lists := out.lists()
	for _, kind := range kinds {
		group.Go(func() {
			var options []client.ListOption
			if slices.Contains(inSystem, kind) {
				options = append(options, client.InNamespace(v1alpha1.SystemNamespace))
			}
			err := c.List(ctx, lists[kind], options...)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
			case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
				out.Unread = append(out.Unread, Unread{Kind: kind, Why: NoSuchKind})
			case apierrors.IsForbidden(err):
				out.Unread = append(out.Unread, Unread{Kind: kind, Why: err.Error()})
			default:
				failed = append(failed, fmt.Errorf("list %s: %w", kind, err))
			}
		})
	}
	group.Wait()
	slices.SortFunc(out.Unread, func(a, b Unread) int { return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind) })
	if len(failed) > 0 {
		return nil, failed[0]
	}
	return out, nil
}

// AgentPod returns the pod of a node's agent, or nil.
func (c *Cluster) AgentPod(node string) *corev1.Pod {
	for i := range c.SystemPods.Items {
		p := &c.SystemPods.Items[i]
		if p.Spec.ServiceAccountName == v1alpha1.AgentAccount && p.Spec.NodeName == node && p.DeletionTimestamp.IsZero() {
			return p
		}
	}
	return nil
}

// Lease returns the Lease of that name, or nil.
func (c *Cluster) Lease(name string) *coordinationv1.Lease {
	for i := range c.Leases.Items {
		if c.Leases.Items[i].Name == name {
			return &c.Leases.Items[i]
		}
	}
	return nil
}

// State returns what a node's BGP speaker does, or nil where it has nothing to do.
func (c *Cluster) State(node string) *v1alpha1.BGPNodeState {
	for i := range c.States.Items {
		if c.States.Items[i].Name == node {
			return &c.States.Items[i]
		}
	}
	return nil
}
