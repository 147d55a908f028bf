package health

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

const (
	established = "Established"
	// mostPeers is how many peers of one source are named one by one.
	mostPeers = 8
)

// bgp names objects that are wrong first, then sessions that are down although their object is right.
func bgp(c *objects.Cluster) []Trouble {
	var out []Trouble
	named := map[string]bool{}
	object := func(kind, name string, generation int64, conditions []metav1.Condition) {
		ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status == metav1.ConditionTrue || ready.ObservedGeneration < generation || ready.Reason == "SessionsDown" {
			return
		}
		named[kind+"/"+name] = true
		out = append(out, Trouble{kind + "/" + name, fmt.Sprintf("%s %s: %s", kind, name, sentence(*ready)), "Correct the object; nodes follow by themselves."})
	}
	for _, p := range c.Peers.Items {
		object("BGPPeer", p.Name, p.Generation, p.Status.Conditions)
	}
	for _, o := range c.Configurations.Items {
		object("BGPConfiguration", o.Name, o.Generation, o.Status.Conditions)
	}
	for _, f := range c.Filters.Items {
		object("BGPFilter", f.Name, f.Generation, f.Status.Conditions)
	}
	out = byName(out, func(t Trouble) string { return t.Object })
	states := byName(c.States.Items, func(s v1alpha1.BGPNodeState) string { return s.Name })
	for i := range states {
		out = append(out, speakerTroubles(&states[i])...)
	}
	return append(out, sessionTroubles(states, named)...)
}

func speakerTroubles(state *v1alpha1.BGPNodeState) []Trouble {
	ready := meta.FindStatusCondition(state.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status == metav1.ConditionTrue || ready.Reason != "SpeakerFault" {
		return nil
	}
	return []Trouble{{"BGPNodeState/" + state.Name, fmt.Sprintf("Node %s: %s", state.Name, sentence(*ready)),
		"Look at the speaker's log: the container speaker of the agent's pod on that node."}}
}

// down are the sessions of one source with one peer, on all nodes that have it down.
type down struct {
	v1alpha1.BGPSessionStatus
	nodes []string
}

// sessionTroubles are sessions that are down, those with the same peer together: when a router or a node fails, every node
// says so. Sessions of a BGPPeer that is wrong are left out: it is named already.
func sessionTroubles(states []v1alpha1.BGPNodeState, named map[string]bool) []Trouble {
	missing := map[string]int{} // sessions that are down, by source
	groups := map[[2]string]*down{}
	for _, state := range states {
		for _, source := range state.Status.Sources {
			missing[source.Source] += int(source.Expected - source.Established)
		}
		for _, s := range state.Status.Sessions {
			if s.State == established {
				continue
			}
			key := [2]string{s.Source, s.Peer}
			if groups[key] == nil {
				groups[key] = &down{BGPSessionStatus: s}
			}
			groups[key].nodes = append(groups[key].nodes, state.Name)
		}
	}
	var out []Trouble
	for _, source := range slices.Sorted(maps.Keys(missing)) {
		shown := 0
		for _, key := range slices.SortedFunc(maps.Keys(groups), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
			if g := groups[key]; key[0] == source && !named[source] && shown < mostPeers {
				shown++
				missing[source] -= len(g.nodes)
				out = append(out, Trouble{source, g.sentence(), SessionAdvice(g.LastError)})
			}
		}
		if rest := missing[source]; rest > 0 && !named[source] {
			out = append(out, Trouble{source, fmt.Sprintf("%s of %s are down as well.", plural(rest, "more session", "more sessions"), source), "List them: kubectl causeway bgp."})
		}
	}
	return out
}

func (d *down) sentence() string {
	text := fmt.Sprintf("The BGP session of %s with %s (AS %d, %s) is down (%s).", names("node", d.nodes), d.Peer, d.ASNumber, d.Source, d.State)
	if d.LastError != "" {
		text += " " + strings.TrimRight(d.LastError, ".") + "."
	}
	return text
}

// names writes "node a" or "nodes a, b, c and 4 more".
func names(kind string, list []string) string {
	const most = 4
	if len(list) == 1 {
		return kind + " " + list[0]
	}
	text := kind + "s " + strings.Join(list[:min(most, len(list))], ", ")
	if rest := len(list) - most; rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}

// SessionAdvice says what to do about a session's last error.
func SessionAdvice(lastError string) string {
	for _, known := range []struct{ part, advice string }{
		{"expected", "Correct asNumber in the BGPPeer, or the AS number that the router expects."},
		{"password", "Compare the password in the Secret of namespace causeway-bgp with the router's."},
		{"refuses connections", "Configure BGP on the router, or correct peerIP and port in the BGPPeer."},
		{"does not answer", "See whether the node reaches the router (ping), whether TCP port 179 is open on the way, and whether it is more hops away than ebgpMultihop allows."},
		{"Another program", "Stop the other program on the node, or set listenPort in the BGPConfiguration."},
	} {
		if strings.Contains(lastError, known.part) {
			return known.advice
		}
	}
	return "See whether the other side runs BGP and expects this node."
}
