package gobgp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
)

func family(v6 bool) *api.Family {
	if v6 {
		return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
}

// originated turns an announcement into a path.
func originated(a bgpplan.Announcement) (*api.Path, error) {
	v6 := a.Prefix.Addr().Is6()
	p := &api.Path{Family: family(v6)}
	prefix := &api.IPAddressPrefix{Prefix: a.Prefix.Addr().String(), PrefixLen: uint32(a.Prefix.Bits())}
	nlri, err := anypb.New(prefix)
	if err != nil {
		return nil, err
	}
	p.Nlri = nlri
	hop := a.NextHop
	if !hop.IsValid() {
		hop = netip.IPv4Unspecified()
		if v6 {
			hop = netip.IPv6Unspecified()
		}
	}
	attributes := []proto.Message{&api.OriginAttribute{Origin: 0}}
	if v6 {
		attributes = append(attributes, &api.MpReachNLRIAttribute{Family: p.Family, NextHops: []string{hop.String()}, Nlris: []*anypb.Any{nlri}})
	} else {
		attributes = append(attributes, &api.NextHopAttribute{NextHop: hop.String()})
	}
	if len(a.Communities) > 0 {
		c := &api.CommunitiesAttribute{}
		for _, text := range a.Communities {
			n, err := numbers(text, 2)
			if err != nil {
				return nil, err
			}
			c.Communities = append(c.Communities, n[0]<<16|n[1]&0xffff)
		}
		attributes = append(attributes, c)
	}
	if len(a.LargeCommunities) > 0 {
		c := &api.LargeCommunitiesAttribute{}
		for _, text := range a.LargeCommunities {
			n, err := numbers(text, 3)
			if err != nil {
				return nil, err
			}
			c.Communities = append(c.Communities, &api.LargeCommunity{GlobalAdmin: n[0], LocalData1: n[1], LocalData2: n[2]})
		}
		attributes = append(attributes, c)
	}
	for _, m := range attributes {
		packed, err := anypb.New(m)
		if err != nil {
			return nil, err
		}
		p.Pattrs = append(p.Pattrs, packed)
	}
	return p, nil
}

func numbers(text string, n int) ([]uint32, error) {
	parts := strings.Split(text, ":")
	if len(parts) != n {
		return nil, fmt.Errorf("community %q does not have %d parts", text, n)
	}
	list := make([]uint32, n)
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("community %q: %w", text, err)
		}
		list[i] = uint32(v)
	}
	return list, nil
}

const typePrefix = "type.googleapis.com/apipb."

// learnedPath reads a best path. ok is false for what we originate ourselves.
func learnedPath(p *api.Path) (prefix netip.Prefix, hop speaker.Hop, ok bool) {
	var nlri api.IPAddressPrefix
	if p.Nlri == nil || p.Nlri.TypeUrl != typePrefix+"IPAddressPrefix" || proto.Unmarshal(p.Nlri.Value, &nlri) != nil {
		return prefix, hop, false
	}
	addr, err := netip.ParseAddr(nlri.Prefix)
	if err != nil {
		return prefix, hop, false
	}
	prefix = netip.PrefixFrom(addr, int(nlri.PrefixLen)).Masked()
	if hop.Peer, err = netip.ParseAddr(p.NeighborIp); err != nil {
		return prefix, hop, false // "<nil>": a local path
	}
	for _, a := range p.Pattrs {
		switch a.TypeUrl {
		case typePrefix + "NextHopAttribute":
			var nh api.NextHopAttribute
			if proto.Unmarshal(a.Value, &nh) == nil {
				hop.NextHop, _ = netip.ParseAddr(nh.NextHop)
			}
		case typePrefix + "MpReachNLRIAttribute":
			var mp api.MpReachNLRIAttribute
			if proto.Unmarshal(a.Value, &mp) == nil && len(mp.NextHops) > 0 {
				hop.NextHop, _ = netip.ParseAddr(mp.NextHops[0])
			}
		}
	}
	hop.NextHop = hop.NextHop.Unmap()
	return prefix, hop, hop.NextHop.IsValid()
}

// neighbor turns a session into GoBGP's configuration. GoBGP neither dials nor listens nor knows passwords: see fsm.
func neighbor(s *bgpplan.Session, restarting bool) *api.Peer {
	seconds := func(n float64) uint64 { return uint64(max(n, 1)) }
	p := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: s.Peer.String(), PeerAsn: s.PeerAS, LocalAsn: s.LocalAS, AllowOwnAsn: uint32(s.AllowOwnAS),
		},
		Transport: &api.Transport{PassiveMode: true},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: seconds(s.HoldTime.Seconds()), KeepaliveInterval: seconds(s.KeepaliveTime.Seconds()), IdleHoldTimeAfterReset: 1,
		}},
	}
	if s.RestartTime > 0 {
		p.GracefulRestart = &api.GracefulRestart{
			Enabled: true, RestartTime: uint32(s.RestartTime.Seconds()), DeferralTime: deferralSeconds, LocalRestarting: restarting,
		}
	}
	if s.ClusterID.IsValid() {
		p.RouteReflector = &api.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: s.ClusterID.String()}
	}
	for _, v6 := range []bool{false, true} {
		if v6 && !s.IPv6 || !v6 && !s.IPv4 {
			continue
		}
		p.AfiSafis = append(p.AfiSafis, &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: family(v6), Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: s.RestartTime > 0}},
		})
	}
	return p
}
