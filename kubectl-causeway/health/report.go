// Package health says whether all is well. It takes the objects of the cluster, and returns nodes, pools and versions with each
// trouble in a sentence and what to do about it. It does no I/O.
package health

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// Kinds are what Compute wants to see.
var Kinds = []objects.Kind{
	objects.IPPools, objects.IPReservations, objects.IPBlocks, objects.NodeNetworks, objects.BlockClaims, objects.BGPNodeStates, objects.BGPPeers,
	objects.BGPConfigurations, objects.BGPFilters, objects.Nodes, objects.Leases, objects.SystemPods,
}

// Report is how the cluster is.
type Report struct {
	// Healthy says that there is no trouble.
	Healthy    bool       `json:"healthy"`
	Kubernetes string     `json:"kubernetes,omitempty"`
	Controller Controller `json:"controller"`
	// Agents are the images that agents run, with how many run each.
	Agents []Image `json:"agents,omitempty"`
	Nodes  []Node  `json:"nodes"`
	Pools  []Pool  `json:"pools"`
	// Troubles need somebody; Notes are good to know.
	Troubles []Trouble `json:"troubles"`
	Notes    []Trouble `json:"notes,omitempty"`
}

// Trouble is something that is not as it should be.
type Trouble struct {
	// Object is "Kind/name".
	Object string `json:"object"`
	// Message says what is wrong, Advice what to do. Both are sentences.
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

// Controller is the controller that works now.
type Controller struct {
	Leader string  `json:"leader,omitempty"`
	Images []Image `json:"images,omitempty"`
}

// Image is a container image and how many pods run it.
type Image struct {
	Name string `json:"name"`
	Pods int    `json:"pods"`
}

// Node is the network side of one node.
type Node struct {
	Name      string   `json:"name"`
	Agent     string   `json:"agent"`
	Ready     string   `json:"ready"`
	Addresses []string `json:"addresses,omitempty"`
	MTU       int32    `json:"mtu,omitempty"`
	Blocks    int      `json:"blocks"`
	// Sessions are "established/expected" BGP sessions, or empty.
	Sessions string `json:"sessions,omitempty"`
	// Encapsulations are those that the kernel can do.
	Encapsulations []string `json:"encapsulations,omitempty"`
}

// Pool is how full a pool is.
type Pool struct {
	Name          string `json:"name"`
	CIDR          string `json:"cidr"`
	Encapsulation string `json:"encapsulation"`
	Allocated     int64  `json:"allocated"`
	Capacity      int64  `json:"capacity"`
	Blocks        int64  `json:"blocks"`
	Ready         string `json:"ready"`
}

// Compute says how the cluster is.
func Compute(c *objects.Cluster) Report {
	r := Report{Kubernetes: c.Server, Agents: images(c, agentAccount), Controller: controller(c)}
	r.Troubles = append(r.Troubles, unread(c)...)
	r.Troubles = append(r.Troubles, controllerTroubles(c)...)
	nodes, troubles := nodes(c)
	r.Nodes, r.Troubles = nodes, append(r.Troubles, troubles...)
	pools, troubles, notes := pools(c)
	r.Pools, r.Troubles, r.Notes = pools, append(r.Troubles, troubles...), notes
	r.Troubles = append(r.Troubles, reservations(c)...)
	r.Troubles = append(r.Troubles, bgp(c)...)
	if len(r.Agents) > 1 {
		r.Notes = append(r.Notes, Trouble{Object: "DaemonSet/causeway-agent", Message: fmt.Sprintf("Agents run %d different images.", len(r.Agents)),
			Advice: "This is as it should be during an update; afterwards look for nodes that it has left out."})
	}
	r.Healthy = len(r.Troubles) == 0
	return r
}

// unread are kinds that the answer misses.
func unread(c *objects.Cluster) []Trouble {
	var out []Trouble
	missing := 0
	for _, u := range c.Unread {
		if u.Why == objects.NoSuchKind {
			missing++
			continue
		}
		out = append(out, Trouble{Object: string(u.Kind), Message: fmt.Sprintf("The %s could not be read: %s.", u.Kind, u.Why),
			Advice: "What they would show is missing here. Ask for the right to list them."})
	}
	if missing > 0 {
		out = append(out, Trouble{Object: "CustomResourceDefinition", Message: fmt.Sprintf("The API server does not know %d of Causeway's kinds.", missing),
			Advice: "Install Causeway, or update its CRDs: kubectl apply -k config/default."})
	}
	return out
}

func byName[T any](list []T, name func(T) string) []T {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(name(a), name(b)) })
	return list
}
