package bgp

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/conditions"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

// facts are all that the statuses depend on.
type facts struct {
	peers   []v1alpha1.BGPPeer
	filters map[string]*v1alpha1.BGPFilter
	// nodes are the labels of the nodes.
	nodes []labels.Set
	// reports are what the nodes' speakers do.
	reports []v1alpha1.BGPNodeState
	secrets bgpcheck.Secrets
	now     metav1.Time
}

// counts are the sessions of one BGPPeer, on all nodes.
type counts struct {
	expected, established int
	// failures are sentences about sessions that are down.
	failures []string
}

// peer returns a BGPPeer's status.
func (f *facts) peer(peer *v1alpha1.BGPPeer) v1alpha1.BGPPeerStatus {
	s := *peer.Status.DeepCopy()
	s.ObservedGeneration = peer.Generation
	c := f.count(peer)
	s.Expected, s.Established = int32(c.expected), int32(c.established)
	s.Sessions = fmt.Sprintf("%d/%d", c.established, c.expected)
	s.Conditions = conditions.Sum(s.Conditions, f.now, peer.Generation, f.peerState(peer, c))
	return s
}

// count adds up what the selectors ask for and what the nodes report.
func (f *facts) count(peer *v1alpha1.BGPPeer) counts {
	source := "BGPPeer/" + peer.Name
	c := counts{expected: expected(peer, f.nodes)}
	reported := 0
	for i := range f.reports {
		report := &f.reports[i]
		at := slices.IndexFunc(report.Status.Sources, func(s v1alpha1.BGPSourceStatus) bool { return s.Source == source })
		if at < 0 {
			continue
		}
		reported += int(report.Status.Sources[at].Expected)
		c.established += int(report.Status.Sources[at].Established)
		if report.Status.Sources[at].Expected == report.Status.Sources[at].Established {
			continue
		}
		for j := range report.Status.Sessions {
			session := &report.Status.Sessions[j]
			if session.Source == source && session.State != "Established" && session.LastError != "" {
				c.failures = append(c.failures, fmt.Sprintf("%s to %s: %s", report.Name, session.Peer, strings.TrimRight(session.LastError, ".")))
			}
		}
	}
	c.expected = max(c.expected, reported)
	slices.Sort(c.failures)
	return c
}

func stalled(p *bgpcheck.Problem) conditions.State {
	return conditions.State{Stalled: true, Reason: p.Reason, Message: p.Message}
}

// peerState looks for mistakes first, then at the sessions.
func (f *facts) peerState(peer *v1alpha1.BGPPeer, c counts) conditions.State {
	for _, problem := range []*bgpcheck.Problem{
		bgpcheck.Peer(&peer.Spec), bgpcheck.Rival(peer, f.peers, f.nodes), bgpcheck.Password(peer.Spec.Password, f.secrets),
		bgpcheck.Filters(peer.Spec.Filters, f.filters),
	} {
		if problem != nil {
			return stalled(problem)
		}
	}
	// A node that the selectors match may come by itself.
	if problem := bgpcheck.Selected(&peer.Spec, f.nodes); problem != nil {
		return conditions.State{Reconciling: true, Reason: problem.Reason, Message: problem.Message}
	}
	up := fmt.Sprintf("%d of %d sessions are established", c.established, c.expected)
	switch {
	case c.expected == 0:
		return conditions.State{Reconciling: true, Reason: bgpcheck.NoPeerSelected, Message: "The selectors match no two nodes; label another node or change them."}
	case c.established >= c.expected:
		return conditions.State{Ready: true, Reason: "SessionsEstablished", Message: up + "."}
	case len(c.failures) > 0:
		return conditions.State{Reason: "SessionsDown", Message: fmt.Sprintf("%s; not those of %s.", up, conditions.Names("node", c.failures))}
	}
	return conditions.State{Reconciling: true, Reason: "SessionsDown", Message: up + "."}
}

// expected counts the sessions that the selectors ask for, on every node that has one.
func expected(peer *v1alpha1.BGPPeer, nodes []labels.Set) int {
	mine, problem := bgpcheck.Selector("nodeSelector", peer.Spec.NodeSelector)
	if problem != nil {
		return 0
	}
	theirs := labels.Nothing()
	if peer.Spec.PeerSelector != nil {
		if theirs, problem = bgpcheck.Selector("peerSelector", peer.Spec.PeerSelector); problem != nil {
			return 0
		}
	}
	// Of the ordered pairs of two nodes, those that the selectors match in one direction or the other.
	var from, to, both int
	for _, node := range nodes {
		a, b := mine.Matches(node), theirs.Matches(node)
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
	if peer.Spec.PeerSelector == nil {
		return from
	}
	return 2*(from*to-both) - both*(both-1)
}
