package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

const (
	agentAccount      = v1alpha1.AgentAccount
	controllerAccount = v1alpha1.ControllerAccount

	live    = "live"
	silent  = "silent"
	unknown = "unknown"
)

// nodes are all Nodes and all NodeNetworks, which should be the same.
func nodes(c *objects.Cluster) ([]Node, []Trouble) {
	blocks := map[string]int{}
	for i := range c.Blocks.Items {
		blocks[c.Blocks.Items[i].Spec.Node]++
	}
	networks := map[string]*v1alpha1.NodeNetwork{}
	for i := range c.Networks.Items {
		networks[c.Networks.Items[i].Name] = &c.Networks.Items[i]
	}
	var out []Node
	var troubles []Trouble
	for i := range c.Nodes.Items {
		node := &c.Nodes.Items[i]
		line := Node{Name: node.Name, Blocks: blocks[node.Name], Ready: unknown}
		var bad *Trouble
		line.Agent, bad = agent(c, node)
		if bad != nil {
			troubles = append(troubles, *bad)
		}
		network := networks[node.Name]
		delete(networks, node.Name)
		switch {
		case network != nil:
			line.describe(network)
			// What a silent agent said is not what is.
			if bad == nil {
				troubles = append(troubles, networkTroubles(network)...)
			}
		case c.Read(objects.NodeNetworks):
			troubles = append(troubles, Trouble{Object: "Node/" + node.Name, Message: fmt.Sprintf("Node %s has no NodeNetwork, so no other node knows how to reach its pods.", node.Name),
				Advice: "The controller makes it. See whether the controller works: kubectl -n causeway-system logs deployment/causeway-controller."})
		}
		if s := c.State(node.Name); s != nil {
			line.Sessions = s.Status.SessionCounts
		}
		out = append(out, line)
	}
	if c.Read(objects.Nodes) {
		for name := range networks {
			troubles = append(troubles, Trouble{Object: "NodeNetwork/" + name, Message: fmt.Sprintf("Node %s is gone, but its NodeNetwork is still there.", name),
				Advice: fmt.Sprintf("The controller takes it away when the agent's Lease has run out. If this lasts, an agent still runs there; stop it: kubectl -n causeway-system get lease %s%s.", v1alpha1.AgentLeasePrefix, name)})
		}
	}
	byObject := func(t Trouble) string { return t.Object }
	return byName(out, func(n Node) string { return n.Name }), byName(troubles, byObject)
}

func (n *Node) describe(network *v1alpha1.NodeNetwork) {
	for _, a := range network.Status.Addresses {
		n.Addresses = append(n.Addresses, a.Address)
	}
	for _, e := range network.Status.Encapsulations {
		n.Encapsulations = append(n.Encapsulations, string(e))
	}
	n.MTU = network.Status.MTU
	n.Ready = readiness(network.Status.Conditions)
}

func readiness(conditions []metav1.Condition) string {
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil {
		return string(c.Status)
	}
	return unknown
}

// agent says whether a node's agent lives, and what is the matter if not.
func agent(c *objects.Cluster, node *corev1.Node) (string, *Trouble) {
	if !c.Read(objects.Leases) {
		return unknown, nil
	}
	lease := c.Lease(v1alpha1.AgentLeasePrefix + node.Name)
	quiet, over := overdue(lease, c.Now)
	if lease != nil && !over {
		return live, nil
	}
	t := Trouble{Object: "Node/" + node.Name, Advice: agentAdvice(c, node)}
	if lease == nil {
		t.Message = fmt.Sprintf("The agent of node %s has never said that it works. No pod can start there.", node.Name)
		return "none", &t
	}
	t.Message = fmt.Sprintf("The agent of node %s has not renewed its Lease for %s. Pods that run there keep their network; no new one can start.", node.Name, quiet)
	return silent + " " + quiet.String(), &t
}

// overdue says how long ago a Lease was renewed, and whether it has run out.
func overdue(lease *coordinationv1.Lease, now time.Time) (time.Duration, bool) {
	if lease == nil || lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil {
		return 0, true
	}
	quiet := now.Sub(lease.Spec.RenewTime.Time).Truncate(time.Second)
	return quiet, quiet > time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second
}

// agentAdvice looks for the reason why an agent is silent.
func agentAdvice(c *objects.Cluster, node *corev1.Node) string {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return fmt.Sprintf("The Node itself is not ready (%s); start there: kubectl describe node %s.", condition.Reason, node.Name)
		}
	}
	pod := c.AgentPod(node.Name)
	switch {
	case !c.Read(objects.SystemPods):
		return "Look at the agent's pod on that node in the namespace causeway-system."
	case pod == nil:
		return "There is no agent's pod on that node: kubectl -n causeway-system describe daemonset causeway-agent."
	}
	if why := waiting(pod); why != "" {
		return fmt.Sprintf("Its pod waits (%s): kubectl -n causeway-system describe pod %s.", why, pod.Name)
	}
	return fmt.Sprintf("Look at its log: kubectl -n causeway-system logs %s -c agent.", pod.Name)
}

// waiting are the reasons why containers of a pod do not run.
func waiting(pod *corev1.Pod) string {
	var out []string
	for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if s.State.Waiting != nil && s.State.Waiting.Reason != "" {
			out = append(out, s.Name+": "+s.State.Waiting.Reason)
		}
	}
	return strings.Join(out, ", ")
}

// badWhenTrue are the conditions of a NodeNetwork that are False when all is well; the others are True then.
var badWhenTrue = []string{v1alpha1.ConditionConflicting, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled}

// networkTroubles are what a live agent says about its node. Ready is named only where no other condition says why.
func networkTroubles(n *v1alpha1.NodeNetwork) []Trouble {
	var out, unready []Trouble
	for _, c := range n.Status.Conditions {
		well := metav1.ConditionTrue
		if slices.Contains(badWhenTrue, c.Type) {
			well = metav1.ConditionFalse
		}
		if c.Status == well {
			continue
		}
		t := Trouble{Object: "NodeNetwork/" + n.Name, Message: fmt.Sprintf("Node %s: %s", n.Name, sentence(c)), Advice: nodeAdvice(n.Name, c.Type)}
		if c.Type == v1alpha1.ConditionReady {
			unready = append(unready, t)
		} else {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return unready
	}
	return out
}

func nodeAdvice(node, condition string) string {
	switch condition {
	case v1alpha1.ConditionEndpointsRecorded:
		return "The pods run. Remove what keeps agents from creating WorkloadEndpoints (the message names it: a quota, a webhook, a missing role); the records follow by themselves."
	case v1alpha1.ConditionConflicting:
		return "Delete the pool or block that the message names, and choose another range."
	case v1alpha1.ConditionKernelSupport:
		return "Load the module on the node, or choose another encapsulation for the pool."
	}
	return fmt.Sprintf("See what the agent wants and what the kernel refuses: kubectl causeway plan %s.", node)
}

// sentence is a condition's message, or what its type and reason tell.
func sentence(c metav1.Condition) string {
	if c.Message == "" {
		return fmt.Sprintf("The condition %s is %s (%s).", c.Type, c.Status, c.Reason)
	}
	if strings.HasSuffix(c.Message, ".") {
		return c.Message
	}
	return c.Message + "."
}

// controller is the leader, with what the controller's pods run.
func controller(c *objects.Cluster) Controller {
	out := Controller{Images: images(c, controllerAccount)}
	lease := c.Lease(v1alpha1.ControllerLease)
	if _, over := overdue(lease, c.Now); over || lease.Spec.HolderIdentity == nil {
		return out
	}
	// controller-runtime adds a random part to the pod's name.
	out.Leader, _, _ = strings.Cut(*lease.Spec.HolderIdentity, "_")
	return out
}

func controllerTroubles(c *objects.Cluster) []Trouble {
	const advice = "See whether its pods run: kubectl -n causeway-system get pods -l app.kubernetes.io/name=causeway-controller."
	if !c.Read(objects.Leases) {
		return nil
	}
	lease := c.Lease(v1alpha1.ControllerLease)
	quiet, over := overdue(lease, c.Now)
	switch {
	case lease == nil:
		return []Trouble{{"Deployment/causeway-controller", "No controller has ever led: no node gets a block of addresses.", advice}}
	case over || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "":
		return []Trouble{{"Deployment/causeway-controller",
			fmt.Sprintf("No controller works: nobody has renewed the leader's Lease for %s. Nodes get no more blocks, and statuses of pools are old.", quiet), advice}}
	}
	return nil
}

// images counts what the pods of a service account run.
func images(c *objects.Cluster, account string) []Image {
	counts := map[string]int{}
	for i := range c.SystemPods.Items {
		p := &c.SystemPods.Items[i]
		if p.Spec.ServiceAccountName == account && len(p.Spec.Containers) > 0 {
			counts[p.Spec.Containers[0].Image]++
		}
	}
	var out []Image
	for name, n := range counts {
		out = append(out, Image{name, n})
	}
	return byName(out, func(i Image) string { return i.Name })
}
