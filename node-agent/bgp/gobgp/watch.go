package gobgp

import (
	"context"
	"net/netip"
	"slices"
	"time"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
)

// watch takes GoBGP's events, in order, from one goroutine.
func (e *Engine) watch(r *api.WatchEventResponse) {
	if p := r.GetPeer(); p != nil {
		if addr, err := netip.ParseAddr(p.GetPeer().GetState().GetNeighborAddress()); err == nil {
			if s := e.session(addr.Unmap()); s != nil {
				s.observe()
			}
		}
		return
	}
	var changes []speaker.RouteChange
	for _, p := range r.GetTable().GetPaths() {
		if p.Nlri == nil || p.Nlri.TypeUrl == "" || len(p.Pattrs) == 0 && !p.IsWithdraw {
			e.endOfRIB(p)
			continue
		}
		prefix, hop, ok := learnedPath(p)
		if !prefix.IsValid() {
			continue
		}
		// All best paths of a prefix come one behind the other.
		if n := len(changes); n == 0 || changes[n-1].Prefix != prefix {
			changes = append(changes, speaker.RouteChange{Prefix: prefix})
		}
		last := &changes[len(changes)-1]
		if ok && !p.IsWithdraw && !slices.Contains(last.Hops, hop) {
			last.Hops = append(last.Hops, hop)
		}
	}
	e.hub.routes(changes)
}

func (e *Engine) endOfRIB(p *api.Path) {
	addr, err := netip.ParseAddr(p.NeighborIp)
	if err != nil {
		return
	}
	if s := e.session(addr.Unmap()); s != nil {
		s.endOfRIB(p.GetFamily().GetAfi() == api.Family_AFI_IP6)
	}
}

// publish says what the sessions do. It waits for a plan that is being applied: the order of events must tell a session
// that is replaced from one that has converged.
func (e *Engine) publish() {
	e.applying.Lock()
	defer e.applying.Unlock()
	status := speaker.Status{Global: e.plan.Global, Faults: e.listeners.faults()}
	accepted := e.accepted()
	now := time.Now()
	e.mu.RLock()
	for _, s := range e.sessions {
		status.Sessions = append(status.Sessions, s.status(now, accepted[s.plan.Peer]))
	}
	e.mu.RUnlock()
	slices.SortFunc(status.Sessions, func(a, b speaker.SessionStatus) int { return a.Peer.Compare(b.Peer) })
	e.hub.status(status)
}

// accepted returns the number of prefixes that the filters let in, by peer.
func (e *Engine) accepted() map[netip.Addr]int {
	counts := map[netip.Addr]int{}
	if e.server == nil {
		return counts
	}
	_ = e.server.ListPeer(context.Background(), &api.ListPeerRequest{}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
		if err != nil {
			return
		}
		for _, f := range p.AfiSafis {
			counts[addr.Unmap()] += int(f.GetState().GetAccepted())
		}
	})
	return counts
}
