package uninstall

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	agentName      = "causeway-agent"
	controllerName = "causeway-controller"
	cleanupName    = "causeway-cleanup"
	nameLabel      = "app.kubernetes.io/name"
)

// ForceAnnotation on the namespace causeway-system, with the value force, stands for Options.Force: helm does not change the
// values of a release whose uninstallation has failed.
const ForceAnnotation = "causeway.dev/uninstall"

// own are the kinds whose objects the uninstallation deletes, in this order: records before the blocks that they lie in,
// blocks before the pools that they are cut from.
func own() []client.ObjectList {
	return []client.ObjectList{&v1alpha1.WorkloadEndpointList{}, &v1alpha1.BlockClaimList{}, &v1alpha1.BGPNodeStateList{},
		&v1alpha1.IPBlockList{}, &v1alpha1.NodeNetworkList{}}
}

func (u *uninstaller) observe(ctx context.Context) (State, error) {
	s := State{Cleaned: u.cleaned}
	var err error
	read := func(what string, f func() error) {
		if err == nil {
			if err = f(); err != nil {
				err = fmt.Errorf("look at %s: %w", what, err)
			}
		}
	}
	system := v1alpha1.SystemNamespace
	read("the namespace "+system, func() error { return u.observeNamespace(ctx) })
	read("the DaemonSet of the agents", func() (err error) { s.Agents, err = u.exists(ctx, &appsv1.DaemonSet{}, system, agentName); return err })
	read("the Deployment of the controller", func() (err error) {
		s.Controller, err = u.exists(ctx, &appsv1.Deployment{}, system, controllerName)
		return err
	})
	read("the DaemonSet that cleans nodes", func() (err error) {
		s.Cleanup, err = u.exists(ctx, &appsv1.DaemonSet{}, u.home, cleanupName)
		return err
	})
	read("the nodes", func() error { return u.observeNodes(ctx, &s) })
	read("Causeway's pods", func() error { return u.observeOwnPods(ctx, &s) })
	if s.Agents && !u.force {
		read("the pods of the network", func() error { return u.observePods(ctx, &s) })
	}
	read("Causeway's objects", func() error { return u.count(ctx, &s) })
	return s, err
}

// observeNamespace says where the cleaning's pods can be: a namespace that is going takes no new ones.
func (u *uninstaller) observeNamespace(ctx context.Context) error {
	var n corev1.Namespace
	err := u.api.Get(ctx, client.ObjectKey{Name: v1alpha1.SystemNamespace}, &n)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	u.force = u.o.Force || n.Annotations[ForceAnnotation] == "force"
	if u.home = v1alpha1.SystemNamespace; err != nil || n.DeletionTimestamp != nil {
		u.home = metav1.NamespaceSystem
	}
	return nil
}

func (u *uninstaller) exists(ctx context.Context, o client.Object, namespace, name string) (bool, error) {
	err := u.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// observeNodes finds silent nodes. A node that says itself that it is not ready is none: it says so without a network.
func (u *uninstaller) observeNodes(ctx context.Context, s *State) error {
	var nodes corev1.NodeList
	if err := u.api.List(ctx, &nodes); err != nil {
		return err
	}
	for _, n := range nodes.Items {
		silent := false
		for _, c := range n.Status.Conditions {
			silent = silent || c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
		}
		s.Nodes = append(s.Nodes, Node{Name: n.Name, Silent: silent})
	}
	return nil
}

// observeOwnPods finds agents and controllers that have not ended, and how far the cleaning of each node is.
func (u *uninstaller) observeOwnPods(ctx context.Context, s *State) error {
	var pods corev1.PodList
	if err := u.api.List(ctx, &pods, client.HasLabels{nameLabel}); err != nil {
		return err
	}
	for _, p := range pods.Items {
		if p.Namespace != v1alpha1.SystemNamespace && p.Namespace != u.home {
			continue
		}
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		node := nodeOf(s.Nodes, p.Spec.NodeName)
		if ended || node == nil || node.Silent {
			continue
		}
		switch p.Labels[nameLabel] {
		case agentName:
			s.AgentPods = append(s.AgentPods, node.Name)
		case controllerName:
			s.ControllerPods = append(s.ControllerPods, node.Name)
		case cleanupName:
			if p.DeletionTimestamp == nil {
				node.Clean, node.Problem = cleaned(p.Status.InitContainerStatuses)
			}
		}
	}
	return nil
}

func nodeOf(nodes []Node, name string) *Node {
	for i := range nodes {
		if nodes[i].Name == name {
			return &nodes[i]
		}
	}
	return nil
}

// cleaned reads how the container that cleans a node has ended.
func cleaned(statuses []corev1.ContainerStatus) (clean bool, problem string) {
	for _, c := range statuses {
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
			return true, ""
		case c.State.Terminated != nil:
			problem = c.State.Terminated.Message
		case c.LastTerminationState.Terminated != nil:
			problem = c.LastTerminationState.Terminated.Message
		case c.State.Waiting != nil && c.State.Waiting.Message != "":
			problem = c.State.Waiting.Message
		}
	}
	return false, problem
}

// observePods finds pods that have an address of ours and have not ended.
func (u *uninstaller) observePods(ctx context.Context, s *State) error {
	var endpoints v1alpha1.WorkloadEndpointList
	if err := u.api.List(ctx, &endpoints); missing(err) {
		return nil
	} else if err != nil {
		return err
	}
	if len(endpoints.Items) == 0 {
		return nil
	}
	var pods corev1.PodList
	if err := u.api.List(ctx, &pods); err != nil {
		return err
	}
	running := make(map[string]bool, len(pods.Items))
	for _, p := range pods.Items {
		if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			running[p.Namespace+"/"+p.Name] = true
		}
	}
	seen := map[string]bool{}
	for _, e := range endpoints.Items {
		if pod := e.Namespace + "/" + e.Spec.Pod; running[pod] && !seen[pod] {
			seen[pod] = true
			s.Pods = append(s.Pods, pod)
		}
	}
	return nil
}

// count counts the objects that are to go. Pools that stay count while they have our finalizer.
func (u *uninstaller) count(ctx context.Context, s *State) error {
	for _, list := range own() {
		if err := u.api.List(ctx, list); missing(err) {
			continue
		} else if err != nil {
			return err
		}
		s.Objects += meta.LenList(list)
	}
	var pools v1alpha1.IPPoolList
	if err := u.api.List(ctx, &pools); err != nil && !missing(err) {
		return err
	}
	for i := range pools.Items {
		if !u.o.KeepDefinitions || held(&pools.Items[i]) {
			s.Objects++
		}
	}
	leases, err := u.leases(ctx)
	s.Objects += len(leases)
	return err
}

func held(pool *v1alpha1.IPPool) bool {
	for _, f := range pool.Finalizers {
		if f == v1alpha1.FinalizerPool {
			return true
		}
	}
	return false
}

func (u *uninstaller) leases(ctx context.Context) ([]coordinationv1.Lease, error) {
	var all coordinationv1.LeaseList
	if err := u.api.List(ctx, &all, client.InNamespace(v1alpha1.SystemNamespace)); err != nil {
		return nil, err
	}
	return all.Items, nil
}

// missing says that a definition is gone already.
func missing(err error) bool { return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) }
