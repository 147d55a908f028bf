package bgpplan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/routeplan"
)

const (
	defaultHold    = 90 * time.Second
	defaultRestart = 120 * time.Second
	maxPassword    = 80 // TCP_MD5SIG_MAXKEYLEN of linux/tcp.h
)

// sessions returns this node's sessions: those of BGPPeers, oldest first, then the mesh's. The first one with an
// address has it.
func (p *planner) sessions() []Session {
	byPeer := map[netip.Addr]Session{}
	peers := slices.Clone(p.in.Peers)
	slices.SortFunc(peers, func(a, b v1alpha1.BGPPeer) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for i := range peers {
		for _, s := range p.peerSessions(&peers[i]) {
			if older, ok := byPeer[s.Peer]; ok {
				if older.Source != s.Source {
					p.peerProblem(&peers[i], "DuplicatePeer", fmt.Sprintf(
						"%s has a session with %s already, and it is older; remove the address or the node from one of the two.", older.Source, s.Peer))
				}
				continue
			}
			byPeer[s.Peer] = s
		}
	}
	for _, s := range p.meshSessions() {
		if _, explicit := byPeer[s.Peer]; !explicit {
			byPeer[s.Peer] = s
		}
	}
	list := make([]Session, 0, len(byPeer))
	for _, s := range byPeer {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Session) int { return a.Peer.Compare(b.Peer) })
	return list
}

func (p *planner) peerProblem(peer *v1alpha1.BGPPeer, reason, message string) {
	p.problem("BGPPeer", peer.Name, reason, message)
}

// selector turns a label selector into a match. A nil one matches all.
func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

func (p *planner) matching(s labels.Selector) (matched []node) {
	for _, n := range p.nodes {
		if s.Matches(labels.Set(n.labels)) {
			matched = append(matched, n)
		}
	}
	return matched
}

// peerSessions returns the sessions that one BGPPeer gives this node.
func (p *planner) peerSessions(peer *v1alpha1.BGPPeer) []Session {
	here, err := selector(peer.Spec.NodeSelector)
	if err != nil {
		p.peerProblem(peer, "InvalidSelector", fmt.Sprintf("nodeSelector can't be used: %v; correct it.", err))
		return nil
	}
	if len(p.matching(here)) == 0 {
		p.peerProblem(peer, "NoNodeSelected", "nodeSelector matches no node; label a node or change the selector.")
		return nil
	}
	if peer.Spec.PeerSelector != nil {
		return p.nodeSessions(peer, here)
	}
	if !here.Matches(labels.Set(p.self.labels)) {
		return nil
	}
	addr, err := netip.ParseAddr(peer.Spec.PeerIP)
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
		p.peerProblem(peer, "InvalidAddress", "peerIP is "+quote(peer.Spec.PeerIP)+"; write the IP address of a router.")
		return nil
	}
	addr = addr.Unmap()
	if addr == p.self.v4 || addr == p.self.v6 {
		return nil // A BGPPeer for all nodes may name one of them: that one has no session with itself.
	}
	if peer.Spec.ASNumber == nil || !validAS(*peer.Spec.ASNumber) {
		p.peerProblem(peer, "InvalidASNumber", "asNumber is missing or out of range; set it to the AS number of the router.")
		return nil
	}
	other := node{as: uint32(*peer.Spec.ASNumber)}
	for _, n := range p.nodes {
		if n.v4 == addr || n.v6 == addr {
			other.name, other.clusterID = n.name, n.clusterID
		}
	}
	port := uint16(defaultPort)
	if peer.Spec.Port >= 1 && peer.Spec.Port <= 65535 {
		port = uint16(peer.Spec.Port)
	}
	s, ok := p.session(peer, addr, other, port)
	if !ok {
		return nil
	}
	return []Session{s}
}

// nodeSessions returns the sessions of a BGPPeer with a peerSelector. Both sides have them, whichever of the two
// selectors a node matches.
func (p *planner) nodeSessions(peer *v1alpha1.BGPPeer, here labels.Selector) (sessions []Session) {
	there, err := selector(peer.Spec.PeerSelector)
	if err != nil {
		p.peerProblem(peer, "InvalidSelector", fmt.Sprintf("peerSelector can't be used: %v; correct it.", err))
		return nil
	}
	matched := p.matching(there)
	if len(matched) == 0 {
		p.peerProblem(peer, "NoPeerSelected", "peerSelector matches no node; label a node or change the selector.")
		return nil
	}
	selfHere, selfThere := here.Matches(labels.Set(p.self.labels)), there.Matches(labels.Set(p.self.labels))
	for _, n := range p.nodes {
		hereN, thereN := here.Matches(labels.Set(n.labels)), there.Matches(labels.Set(n.labels))
		if n.name == p.self.name || !(selfHere && thereN || selfThere && hereN) {
			continue
		}
		own, addr, ok := common(p.self, n)
		if !ok {
			continue // The other node has not said its addresses yet, or has no family in common.
		}
		if s, ok := p.session(peer, addr, n, p.listenPort()); ok {
			s.DialLater = addr.Less(own)
			sessions = append(sessions, s)
		}
	}
	return sessions
}

// session fills in one session of a BGPPeer.
func (p *planner) session(peer *v1alpha1.BGPPeer, addr netip.Addr, other node, port uint16) (Session, bool) {
	spec := &peer.Spec
	s := p.newSession("BGPPeer/"+peer.Name, addr, other, port)
	if as := spec.LocalASNumber; as != nil && validAS(*as) {
		s.LocalAS = uint32(*as)
		if spec.PeerSelector != nil {
			s.PeerAS = s.LocalAS // The other node shows it too.
		}
	}
	var ok bool
	if s.Password, ok = p.password("BGPPeer", peer.Name, spec.Password); !ok {
		return s, false
	}
	if spec.SourceAddress == v1alpha1.SourceAddressNone {
		s.SourceAddress = netip.Addr{}
	} else if !s.SourceAddress.IsValid() {
		p.peerProblem(peer, "NoSourceAddress", fmt.Sprintf(
			"Node %s has no address of the family of %s; give it one, or set sourceAddress to None.", p.self.name, addr))
		return s, false
	}
	switch {
	case spec.TTLSecurity != nil && spec.EBGPMultihop != nil:
		p.peerProblem(peer, "Contradiction", "ttlSecurity and ebgpMultihop exclude each other; remove one of them.")
		return s, false
	case spec.TTLSecurity != nil:
		s.TTLSecurity, s.Multihop = uint8(min(max(*spec.TTLSecurity, 1), 254)), 0
	case spec.EBGPMultihop != nil:
		s.Multihop = uint8(min(max(*spec.EBGPMultihop, 1), 255))
	}
	if s.HoldTime, s.KeepaliveTime, ok = timers(spec.HoldTime, spec.KeepaliveTime); !ok {
		p.peerProblem(peer, "InvalidTimers", "holdTime must be 0s or 3s to 65535s, and keepaliveTime at least 1s and shorter; correct them.")
		return s, false
	}
	s.RestartTime = restartTime(spec.MaxRestartTime)
	if n := spec.NumAllowedLocalASNumbers; n != nil {
		s.AllowOwnAS = uint8(min(max(*n, 0), 10))
	}
	switch {
	case spec.KeepOriginalNextHop || spec.NextHopMode == v1alpha1.NextHopKeep:
		s.NextHop = NextHopKeep
	case spec.NextHopMode == v1alpha1.NextHopSelf:
		s.NextHop = NextHopSelf
	}
	if p.self.clusterID.IsValid() && other.name != "" && !s.External() && other.clusterID != p.self.clusterID {
		s.ClusterID = p.self.clusterID
	}
	if s.Reflector && s.External() && other.name == "" && s.NextHop == NextHopAuto && s.Multihop == 0 && p.self.onLink(addr) {
		s.Link = p.self.subnets
	}
	if spec.ReachableBy != "" {
		via, err := netip.ParseAddr(spec.ReachableBy)
		if err != nil || via.Unmap().Is4() != addr.Is4() {
			p.peerProblem(peer, "InvalidAddress", "reachableBy is "+quote(spec.ReachableBy)+"; write a gateway's address of the peer's family.")
			return s, false
		}
		if route := (routeplan.PeerRoute{Peer: addr, Via: via.Unmap()}); !slices.Contains(p.plan.PeerRoutes, route) {
			p.plan.PeerRoutes = append(p.plan.PeerRoutes, route)
		}
	}
	if s.Import, s.Export, ok = p.compile(peer); !ok {
		return s, false
	}
	return s, true
}

// newSession returns a session with the defaults.
func (p *planner) newSession(source string, addr netip.Addr, other node, port uint16) Session {
	s := Session{
		Peer: addr, PeerAS: other.as, LocalAS: p.self.as, Port: port, Source: source, Node: other.name,
		SourceAddress: p.self.address(addr), HoldTime: defaultHold, KeepaliveTime: defaultHold / 3,
		RestartTime: defaultRestart, NextHop: NextHopAuto, Reflector: p.self.clusterID.IsValid(),
	}
	// The transport's family is always on; the other needs a next hop to announce.
	if addr.Is4() {
		s.IPv4, s.IPv6, s.OtherAddress = true, p.self.v6.IsValid(), p.self.v6
	} else {
		s.IPv6, s.IPv4, s.OtherAddress = true, p.self.v4.IsValid(), p.self.v4
	}
	if other.name != "" && other.as != p.self.as && !p.self.onLink(addr) {
		s.Multihop = 255 // Nodes of one cluster reach each other, on the link or not.
	}
	return s
}

// meshSessions returns the sessions of the node-to-node mesh.
func (p *planner) meshSessions() (sessions []Session) {
	mesh := p.config.NodeToNodeMesh
	if !mesh.Enabled {
		return nil
	}
	password, ok := p.password("BGPConfiguration", "default", mesh.Password)
	if !ok {
		return nil
	}
	hold, keepalive, ok := timers(mesh.HoldTime, mesh.KeepaliveTime)
	if !ok {
		p.problem("BGPConfiguration", "default", "InvalidTimers",
			"holdTime of the mesh must be 0s or 3s to 65535s, and keepaliveTime at least 1s and shorter; correct them.")
		return nil
	}
	for _, n := range p.nodes {
		own, addr, ok := common(p.self, n)
		if !ok || n.name == p.self.name {
			continue
		}
		s := p.newSession("NodeToNodeMesh", addr, n, p.listenPort())
		s.Password, s.HoldTime, s.KeepaliveTime = password, hold, keepalive
		s.RestartTime, s.DialLater = restartTime(mesh.MaxRestartTime), addr.Less(own)
		sessions = append(sessions, s)
	}
	return sessions
}

// password looks a password up. Without one that is asked for there is no session: it would run unprotected.
func (p *planner) password(kind, name string, ref *v1alpha1.BGPPassword) (Secret, bool) {
	if ref == nil {
		return "", true
	}
	key := SecretKey{Name: ref.SecretKeyRef.Name, Key: ref.SecretKeyRef.Key}
	value, exists := p.in.Passwords[key]
	where := fmt.Sprintf("key %s of Secret %s/%s", quote(key.Key), v1alpha1.SystemNamespace, key.Name)
	switch {
	case !exists:
		p.problem(kind, name, "SecretNotFound", "The password is missing: create "+where+".")
	case value == "":
		p.problem(kind, name, "EmptyPassword", "The password is empty: put one in "+where+".")
	case len(value) > maxPassword:
		p.problem(kind, name, "PasswordTooLong", fmt.Sprintf("The password is longer than %d bytes: shorten it in %s.", maxPassword, where))
	default:
		return Secret(value), true
	}
	return "", false
}

func timers(hold, keepalive *metav1.Duration) (time.Duration, time.Duration, bool) {
	h := defaultHold
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

func restartTime(d *metav1.Duration) time.Duration {
	if d == nil {
		return defaultRestart
	}
	return min(max(d.Duration.Truncate(time.Second), 0), 4095*time.Second)
}
