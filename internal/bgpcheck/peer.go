package bgpcheck

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// DefaultHold is the hold time where none is set.
const DefaultHold = 90 * time.Second

// Selector reads a label selector. None matches everything; one that can't be read matches nothing.
func Selector(field string, s *metav1.LabelSelector) (labels.Selector, *Problem) {
	if s == nil {
		return labels.Everything(), nil
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing(), &Problem{InvalidSelector, fmt.Sprintf("%s can't be used: %v; correct it.", field, err)}
	}
	return selector, nil
}

// Peer returns what is wrong with a BGPPeer by itself, or nil.
func Peer(spec *v1alpha1.BGPPeerSpec) *Problem {
	if _, problem := Selector("nodeSelector", spec.NodeSelector); problem != nil {
		return problem
	}
	if _, problem := Selector("peerSelector", spec.PeerSelector); problem != nil {
		return problem
	}
	if spec.PeerSelector == nil {
		if _, ok := Address(spec.PeerIP); !ok {
			return &Problem{InvalidAddress, "peerIP is " + quote(spec.PeerIP) + "; write the IP address of a router."}
		}
		if spec.ASNumber == nil || !ValidAS(*spec.ASNumber) {
			return &Problem{InvalidASNumber, "asNumber is missing or out of range; set it to the AS number of the router."}
		}
	}
	if spec.TTLSecurity != nil && spec.EBGPMultihop != nil {
		return &Problem{Contradiction, "ttlSecurity and ebgpMultihop exclude each other; remove one of them."}
	}
	if _, _, ok := Timers(spec.HoldTime, spec.KeepaliveTime); !ok {
		return &Problem{InvalidTimers, "holdTime must be 0s or 3s to 65535s, and keepaliveTime at least 1s and shorter; correct them."}
	}
	if spec.ReachableBy != "" {
		via, ok := Address(spec.ReachableBy)
		if peer, router := Address(spec.PeerIP); !ok || router && via.Is4() != peer.Is4() {
			return &Problem{InvalidAddress, "reachableBy is " + quote(spec.ReachableBy) + "; write a gateway's address of the peer's family."}
		}
	}
	return nil
}

// Address reads the address of a router.
func Address(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// ValidAS says whether a number is one of an autonomous system (RFC 6793).
func ValidAS(as int64) bool { return as >= 1 && as <= 1<<32-1 }

// Timers returns the hold time and the keepalive time, in whole seconds, with their defaults.
func Timers(hold, keepalive *metav1.Duration) (time.Duration, time.Duration, bool) {
	h := DefaultHold
	if hold != nil {
		h = hold.Duration.Truncate(time.Second)
	}
	if h != 0 && (h < 3*time.Second || h > 65535*time.Second) {
		return 0, 0, false
	}
	k := h / 3
	if keepalive != nil {
		k = keepalive.Duration.Truncate(time.Second)
		if k < time.Second || h != 0 && k >= h {
			return 0, 0, false
		}
	}
	return h, k.Truncate(time.Second), true
}

// Selected says whether a BGPPeer's selectors match any node.
func Selected(spec *v1alpha1.BGPPeerSpec, nodes []labels.Set) *Problem {
	for _, s := range []struct {
		field, reason string
		selector      *metav1.LabelSelector
	}{{"nodeSelector", NoNodeSelected, spec.NodeSelector}, {"peerSelector", NoPeerSelected, spec.PeerSelector}} {
		selector, problem := Selector(s.field, s.selector)
		if problem != nil {
			return problem
		}
		if s.selector == nil && s.reason == NoPeerSelected {
			continue
		}
		if !anyMatches(selector, nodes) {
			return &Problem{s.reason, s.field + " matches no node; label a node or change the selector."}
		}
	}
	return nil
}

func anyMatches(s labels.Selector, nodes []labels.Set) bool {
	for _, n := range nodes {
		if s.Matches(n) {
			return true
		}
	}
	return false
}

// CompareAge orders BGPPeers: of two with the same session, the first one has it.
func CompareAge(a, b *v1alpha1.BGPPeer) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// Duplicate is the problem of a BGPPeer whose session with an address belongs to an older one.
func Duplicate(older string, address netip.Addr) Problem {
	return Problem{DuplicatePeer, fmt.Sprintf(
		"%s has a session with %s already, and it is older; remove the address or the node from one of the two.", older, address)}
}

// Rival returns the problem of a BGPPeer with a router that an older one has on some of the same nodes, or nil.
func Rival(peer *v1alpha1.BGPPeer, peers []v1alpha1.BGPPeer, nodes []labels.Set) *Problem {
	address, ok := Address(peer.Spec.PeerIP)
	if !ok {
		return nil
	}
	mine, _ := Selector("nodeSelector", peer.Spec.NodeSelector)
	for i := range peers {
		other := &peers[i]
		theirAddress, ok := Address(other.Spec.PeerIP)
		if !ok || other.Name == peer.Name || theirAddress != address || CompareAge(other, peer) > 0 {
			continue
		}
		theirs, _ := Selector("nodeSelector", other.Spec.NodeSelector)
		for _, n := range nodes {
			if mine.Matches(n) && theirs.Matches(n) {
				problem := Duplicate("BGPPeer/"+other.Name, address)
				return &problem
			}
		}
	}
	return nil
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `'`) + `"` }
