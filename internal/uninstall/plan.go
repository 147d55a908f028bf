// Package uninstall takes Causeway out of a cluster. A pure plan says from what is there what to do next, so that a second run
// goes on where a first has stopped, wherever that was; the rest of the package carries it out. It deletes nothing that is
// not Causeway's, and leaves the last of it, roles and definitions, to helm or kubectl.
package uninstall

import (
	"fmt"
	"slices"
	"strings"
)

// State is what is there of Causeway in a cluster.
type State struct {
	// Controller and Agents say whether the Deployment and the DaemonSet are there.
	Controller, Agents bool
	// Pods of the network that run, as namespace/name.
	Pods []string
	// AgentPods and ControllerPods are those that have not ended, by node. Those on silent nodes are left out.
	AgentPods, ControllerPods []string
	// Cleanup says whether the DaemonSet that cleans nodes is there.
	Cleanup bool
	// Nodes are those of the cluster.
	Nodes []Node
	// Objects counts what must be gone before the definitions can go: records, blocks, claims, reports, leases, pools.
	Objects int
	// Cleaned says that all nodes have been cleaned in this run.
	Cleaned bool
}

// Node is a node, and how far its cleaning is.
type Node struct {
	Name string
	// Silent is a node whose kubelet does not answer Kubernetes: nothing can be done there.
	Silent bool
	Clean  bool
	// Problem is what the cleaning said at its last failure.
	Problem string
}

// Step is what to do next.
type Step string

// The steps, in their order.
const (
	Refuse         Step = "refuse"
	StopController Step = "stop the controller"
	StopAgents     Step = "stop the agents"
	AwaitEnd       Step = "wait for the end of agents and controllers"
	StartCleaning  Step = "start to clean the nodes"
	AwaitCleaning  Step = "wait until the nodes are clean"
	ReleaseObjects Step = "release and delete Causeway's objects"
	FinishCleaning Step = "end the cleaning"
	NothingIsLeft  Step = "done"
)

const (
	mostNamesShown  = 5
	silentExplained = "They keep Causeway's links, routes and files until they are reinstalled or cleaned by hand (causeway-agent cleanup)."
)

// Next returns the next step, and a sentence for whoever waits.
//
// The controller stops first, since it would make blocks and NodeNetworks again. The nodes are cleaned while the records
// are still there, so that a new installation instead of a second run finds every address taken that a pod has. Objects
// go last: their finalizers have nobody else to release them.
func Next(s State, force bool) (Step, string) {
	switch {
	case s.Agents && len(s.Pods) > 0 && !force:
		return Refuse, fmt.Sprintf("%d pods of the network still run: %s. Delete them or move them to another network first. "+
			"To uninstall all the same, and cut them off: kubectl annotate namespace causeway-system causeway.dev/uninstall=force", len(s.Pods), some(s.Pods))
	case s.Controller:
		return StopController, "The controller is stopped, so that it makes nothing anew."
	case s.Agents:
		return StopAgents, "The agents are stopped. Pods keep their network until their node is cleaned."
	case !s.Cleaned && len(s.AgentPods)+len(s.ControllerPods) > 0:
		return AwaitEnd, fmt.Sprintf("Agents or controllers still run on %s.", some(slices.Concat(s.AgentPods, s.ControllerPods)))
	case !s.Cleaned && !s.Cleanup:
		return StartCleaning, "Every node is cleaned now."
	case !s.Cleaned && len(dirty(s.Nodes)) > 0:
		return AwaitCleaning, fmt.Sprintf("%d of %d nodes are not clean yet: %s.", len(dirty(s.Nodes)), len(s.Nodes), some(dirty(s.Nodes)))
	case s.Objects > 0:
		return ReleaseObjects, fmt.Sprintf("%d objects of Causeway are deleted.", s.Objects)
	case s.Cleanup:
		return FinishCleaning, "All nodes are clean."
	}
	if silent := silent(s.Nodes); len(silent) > 0 {
		return NothingIsLeft, fmt.Sprintf("Causeway is out of the cluster, but these nodes don't answer: %s. %s", some(silent), silentExplained)
	}
	return NothingIsLeft, "Causeway is out of the cluster, and every node is as it was."
}

// dirty are the nodes that the cleaning waits for.
func dirty(nodes []Node) []string {
	var out []string
	for _, n := range nodes {
		if n.Silent || n.Clean {
			continue
		}
		if n.Problem != "" {
			out = append(out, fmt.Sprintf("%s (%s)", n.Name, strings.TrimSpace(n.Problem)))
		} else {
			out = append(out, n.Name)
		}
	}
	return out
}

func silent(nodes []Node) []string {
	var out []string
	for _, n := range nodes {
		if n.Silent {
			out = append(out, n.Name)
		}
	}
	return out
}

// some joins the first few.
func some(names []string) string {
	if len(names) > mostNamesShown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNamesShown], ", "), len(names)-mostNamesShown)
	}
	return strings.Join(names, ", ")
}
