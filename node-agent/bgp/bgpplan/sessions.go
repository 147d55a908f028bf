package bgpplan

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

const defaultRestart = 120 * time.Second

// sessions returns this node's sessions: those of BGPPeers, oldest first, then the mesh's. The first one with an
// address has it.
func (p *planner) sessions() []Session {
	byPeer := map[netip.Addr]Session{}
	peers := slices.Clone(p.in.Peers)
	slices.SortFunc(peers, func(a, b v1alpha1.BGPPeer) int { return bgpcheck.CompareAge(&a, &b) })
	for i := range peers {
		for _, s := range p.peerSessions(&peers[i]) {
			if older, ok := byPeer[s.Peer]; ok {
				if older.Source != s.Source {
					p.problem("BGPPeer", peers[i].Name, bgpcheck.Duplicate(older.Source, s.Peer))
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

// peerSessions returns the sessions that one BGPPeer gives this node.
func (p *planner) peerSessions(peer *v1alpha1.BGPPeer) []Session {
	here, problem := bgpcheck.Selector("nodeSelector", peer.Spec.NodeSelector)
	if problem == nil {
		problem = bgpcheck.Selected(&peer.Spec, p.labels)
	}
	if problem != nil {
		p.problem("BGPPeer", peer.Name, *problem)
		return nil
	}
	if peer.Spec.PeerSelector == nil && !here.Matches(labels.Set(p.self.labels)) {
		return nil
	}
	if problem := bgpcheck.Peer(&peer.Spec); problem != nil {
		p.problem("BGPPeer", peer.Name, *problem)
		return nil
	}
	if peer.Spec.PeerSelector != nil {
		return p.nodeSessions(peer, here)
	}
	addr, _ := bgpcheck.Address(peer.Spec.PeerIP)
	if addr == p.self.v4 || addr == p.self.v6 {
		return nil // A BGPPeer for all nodes may name one of them: that one has no session with itself.
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
	there, _ := bgpcheck.Selector("peerSelector", peer.Spec.PeerSelector)
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
	if as := spec.LocalASNumber; as != nil && bgpcheck.ValidAS(*as) {
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
		p.problem("BGPPeer", peer.Name, bgpcheck.Problem{Reason: bgpcheck.NoSourceAddress, Message: fmt.Sprintf(
			"Node %s has no address of the family of %s; give it one, or set sourceAddress to None.", p.self.name, addr)})
		return s, false
	}
	switch {
	case spec.TTLSecurity != nil:
		s.TTLSecurity, s.Multihop = uint8(min(max(*spec.TTLSecurity, 1), 254)), 0
	case spec.EBGPMultihop != nil:
		s.Multihop = uint8(min(max(*spec.EBGPMultihop, 1), 255))
	}
	s.HoldTime, s.KeepaliveTime, _ = bgpcheck.Timers(spec.HoldTime, spec.KeepaliveTime)
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
		via, _ := bgpcheck.Address(spec.ReachableBy)
		if via.Is4() != addr.Is4() {
			return s, false // A gateway for peers of the other family; only a peerSelector can have both.
		}
		if route := (plan.PeerRoute{Peer: addr, Via: via}); !slices.Contains(p.plan.PeerRoutes, route) {
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
		SourceAddress: p.self.address(addr), HoldTime: bgpcheck.DefaultHold, KeepaliveTime: bgpcheck.DefaultHold / 3,
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
	hold, keepalive, ok := bgpcheck.Timers(mesh.HoldTime, mesh.KeepaliveTime)
	if !ok {
		return nil // which is among the problems of the BGPConfiguration
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
	if problem := bgpcheck.Password(ref, p.lengths); problem != nil {
		p.problem(kind, name, *problem)
		return "", false
	}
	if ref == nil {
		return "", true
	}
	return Secret(p.in.Passwords[ref.SecretKeyRef.Name][ref.SecretKeyRef.Key]), true
}

func restartTime(d *metav1.Duration) time.Duration {
	if d == nil {
		return defaultRestart
	}
	return min(max(d.Duration.Truncate(time.Second), 0), 4095*time.Second)
}
