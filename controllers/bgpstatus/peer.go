// Package bgpstatus decides what the statuses of BGP objects say. It takes the objects and what the nodes report, and
// returns statuses. It does no I/O.
package bgpstatus

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/conditions"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// Facts are all that the statuses depend on.
type Facts struct {
	Peers   []v1alpha1.BGPPeer
	Filters []v1alpha1.BGPFilter
	Nodes   []v1alpha1.NodeNetwork
	// Secrets are the lengths of the values of the Secrets in causeway-system, by name and key.
	Secrets map[string]map[string]int
	Now     metav1.Time
}

// Peer returns a BGPPeer's status.
func (f Facts) Peer(peer *v1alpha1.BGPPeer) v1alpha1.BGPPeerStatus {
	s := *peer.Status.DeepCopy()
	s.ObservedGeneration = peer.Generation
	expected := f.expected(peer)
	established, reported := 0, 0
	var failures []string
	for _, n := range f.Nodes {
		if n.Status.BGP == nil {
			continue
		}
		for _, session := range n.Status.BGP.Sessions {
			if session.Source != "BGPPeer/"+peer.Name {
				continue
			}
			reported++
			if session.State == "Established" {
				established++
			} else if session.LastError != "" {
				failures = append(failures, fmt.Sprintf("%s to %s: %s", n.Name, session.Peer, strings.TrimRight(session.LastError, ".")))
			}
		}
	}
	expected = max(expected, reported)
	s.Expected, s.Established = int32(expected), int32(established)
	s.Sessions = fmt.Sprintf("%d/%d", established, expected)
	c := f.peerReady(peer, expected, established, failures)
	c.ObservedGeneration = peer.Generation
	s.Conditions = conditions.Set(s.Conditions, f.Now, c)
	return s
}

func (f Facts) peerReady(peer *v1alpha1.BGPPeer, expected, established int, failures []string) metav1.Condition {
	no := func(reason, format string, args ...any) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	if rival := f.rival(peer); rival != "" {
		return no("DuplicatePeer", "BGPPeer %s has a session with %s on some of the same nodes; delete one of them or change a nodeSelector.", rival, peer.Spec.PeerIP)
	}
	if reason, sentence := f.secret(peer.Spec.Password); reason != "" {
		return no(reason, "%s", sentence)
	}
	for _, name := range peer.Spec.Filters {
		if !slices.ContainsFunc(f.Filters, func(b v1alpha1.BGPFilter) bool { return b.Name == name }) {
			return no("FilterMissing", "There is no BGPFilter %s; create it or take it out of spec.filters.", name)
		}
	}
	switch {
	case expected == 0:
		return no("NoNodes", "The selectors match no node that could have this session; correct them or label the nodes.")
	case established == expected:
		return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "SessionsEstablished",
			Message: fmt.Sprintf("%d of %d sessions are established.", established, expected)}
	case len(failures) > 0:
		slices.Sort(failures)
		return no("SessionsDown", "%d of %d sessions are established; not those of %s.", established, expected, conditions.Names("node", failures))
	}
	return no("SessionsDown", "%d of %d sessions are established.", established, expected)
}

// rival names another BGPPeer for the same router on one of the same nodes.
func (f Facts) rival(peer *v1alpha1.BGPPeer) string {
	addr, err := netip.ParseAddr(peer.Spec.PeerIP)
	if err != nil {
		return ""
	}
	mine := blockplan.Selector(peer.Spec.NodeSelector)
	for i := range f.Peers {
		other := &f.Peers[i]
		a, err := netip.ParseAddr(other.Spec.PeerIP)
		if err != nil || other.Name == peer.Name || a != addr {
			continue
		}
		theirs := blockplan.Selector(other.Spec.NodeSelector)
		for _, n := range f.Nodes {
			if set := labels.Set(n.Labels); mine.Matches(set) && theirs.Matches(set) {
				return other.Name
			}
		}
	}
	return ""
}

func (f Facts) secret(p *v1alpha1.BGPPassword) (reason, sentence string) {
	if p == nil {
		return "", ""
	}
	ref := p.SecretKeyRef
	keys, ok := f.Secrets[ref.Name]
	if !ok {
		return "SecretMissing", fmt.Sprintf("There is no Secret %s in %s; create it.", ref.Name, v1alpha1.SystemNamespace)
	}
	length, ok := keys[ref.Key]
	switch {
	case !ok:
		return "SecretKeyMissing", fmt.Sprintf("The Secret %s in %s has no key %s; add it.", ref.Name, v1alpha1.SystemNamespace, ref.Key)
	case length == 0:
		return "SecretEmpty", fmt.Sprintf("The key %s of Secret %s in %s is empty; put the password there.", ref.Key, ref.Name, v1alpha1.SystemNamespace)
	case length > 80:
		return "SecretTooLong", fmt.Sprintf("The key %s of Secret %s in %s has %d bytes; a TCP MD5 password has at most 80.", ref.Key, ref.Name, v1alpha1.SystemNamespace, length)
	}
	return "", ""
}

// expected counts the sessions that the selectors ask for, on every node that has one.
func (f Facts) expected(peer *v1alpha1.BGPPeer) int {
	mine := blockplan.Selector(peer.Spec.NodeSelector)
	if peer.Spec.PeerSelector == nil {
		n := 0
		for _, node := range f.Nodes {
			if mine.Matches(labels.Set(node.Labels)) {
				n++
			}
		}
		return n
	}
	theirs := blockplan.Selector(peer.Spec.PeerSelector)
	// Of the ordered pairs of two nodes, those that the selectors match in one direction or the other.
	var from, to, both int
	for _, node := range f.Nodes {
		a, b := mine.Matches(labels.Set(node.Labels)), theirs.Matches(labels.Set(node.Labels))
		if a {
			from++
		}
		if b {
			to++
		}
		if a && b {
			both++
		}
	}
	return 2*(from*to-both) - both*(both-1)
}
