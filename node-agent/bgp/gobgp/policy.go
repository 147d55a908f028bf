package gobgp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

const (
	importPolicy = "causeway-import"
	exportPolicy = "causeway-export"
)

// policies turns a plan's filters into GoBGP's two global policies: it has none for single neighbours. Each session's
// rules are statements that match its address, in order. Behind them, everything is imported; exported is what this node
// originates and, by a route reflector, what it reflects. Nothing else is passed on unless a rule says so.
func policies(plan *bgpplan.Plan) *api.SetPoliciesRequest {
	b := &policyBuilder{plan: plan, request: &api.SetPoliciesRequest{}}
	imports := []*api.Statement{}
	exports := []*api.Statement{}
	for i := range plan.Sessions {
		s := &plan.Sessions[i]
		if len(s.Import) > 0 {
			imports = append(imports, b.session(s, s.Import, false)...)
		}
		if statement := b.nextHop(s); statement != nil {
			exports = append(exports, statement...)
		}
		if len(s.Export) > 0 {
			exports = append(exports, b.session(s, s.Export, true)...)
		}
	}
	exports = append(exports, b.defaultExports()...)
	b.request.Policies = []*api.Policy{
		{Name: importPolicy, Statements: imports}, {Name: exportPolicy, Statements: exports},
	}
	return b.request
}

type policyBuilder struct {
	plan    *bgpplan.Plan
	request *api.SetPoliciesRequest
	names   int
}

// name makes names unique.
func (b *policyBuilder) name(kind string) string {
	b.names++
	return kind + "-" + strconv.Itoa(b.names)
}

func (b *policyBuilder) set(kind api.DefinedType, name string, list []string, prefixes []*api.Prefix) *api.MatchSet {
	b.request.DefinedSets = append(b.request.DefinedSets,
		&api.DefinedSet{DefinedType: kind, Name: name, List: list, Prefixes: prefixes})
	return &api.MatchSet{Type: api.MatchSet_ANY, Name: name}
}

func (b *policyBuilder) neighbors(peers ...netip.Addr) *api.MatchSet {
	var list []string
	for _, p := range peers {
		list = append(list, netip.PrefixFrom(p, p.BitLen()).String())
	}
	return b.set(api.DefinedType_NEIGHBOR, b.name("neighbors"), list, nil)
}

func (b *policyBuilder) prefixes(ranges []bgpplan.PrefixRange) *api.MatchSet {
	var list []*api.Prefix
	for _, r := range ranges {
		list = append(list, &api.Prefix{IpPrefix: r.Prefix.String(), MaskLengthMin: uint32(r.Min), MaskLengthMax: uint32(r.Max)})
	}
	return b.set(api.DefinedType_PREFIX, b.name("prefixes"), nil, list)
}

const (
	local    = api.Conditions_ROUTE_TYPE_LOCAL
	internal = api.Conditions_ROUTE_TYPE_INTERNAL
	external = api.Conditions_ROUTE_TYPE_EXTERNAL
	anyType  = api.Conditions_ROUTE_TYPE_NONE
)

// session returns the statements of one session's rules.
func (b *policyBuilder) session(s *bgpplan.Session, rules []bgpplan.Rule, export bool) (statements []*api.Statement) {
	neighbor := b.neighbors(s.Peer)
	for i := range rules {
		types := []api.Conditions_RouteType{anyType}
		if export {
			switch rules[i].Origin {
			case bgpplan.OriginLocal:
				types = []api.Conditions_RouteType{local}
			case bgpplan.OriginRemote:
				types = []api.Conditions_RouteType{internal, external}
			case bgpplan.OriginAny:
				types = []api.Conditions_RouteType{local}
				if s.Reflector {
					types = append(types, internal)
				}
			}
		}
		for _, t := range types {
			statements = append(statements, b.rule(s, neighbor, &rules[i], t, export)...)
		}
	}
	return statements
}

// rule returns a rule's statements: one for each operation, that lets evaluation go on, and the last that decides.
func (b *policyBuilder) rule(s *bgpplan.Session, neighbor *api.MatchSet, r *bgpplan.Rule, t api.Conditions_RouteType, export bool) (statements []*api.Statement) {
	base := &api.Conditions{NeighborSet: neighbor, RouteType: t}
	if len(r.Prefixes) > 0 {
		base.PrefixSet = b.prefixes(r.Prefixes)
	}
	switch {
	case len(r.Communities) > 0 && strings.Count(r.Communities[0], ":") == 1:
		base.CommunitySet = b.set(api.DefinedType_COMMUNITY, b.name("communities"), r.Communities, nil)
	case len(r.Communities) > 0:
		base.LargeCommunitySet = b.set(api.DefinedType_LARGE_COMMUNITY, b.name("communities"), r.Communities, nil)
	}
	for _, n := range r.NextHops {
		base.NextHopInList = append(base.NextHopInList, n.String())
	}
	if export && t == internal && r.Origin == bgpplan.OriginAny && len(base.NextHopInList) == 0 {
		base.NextHopInList = texts(s.Link)
	}
	// GoBGP has put our own number in front by the time that it exports to another AS.
	var path []uint32
	if export && s.External() {
		path = append(path, s.LocalAS)
	}
	path = append(path, r.ASPath...)
	conditions := func() *api.Conditions {
		c := &api.Conditions{
			NeighborSet: base.NeighborSet, RouteType: base.RouteType, PrefixSet: base.PrefixSet, CommunitySet: base.CommunitySet,
			LargeCommunitySet: base.LargeCommunitySet, NextHopInList: base.NextHopInList,
		}
		if len(r.ASPath) > 0 {
			c.AsPathSet = b.asPath(path)
		}
		return c
	}
	step := func(a *api.Actions) {
		statements = append(statements, &api.Statement{Name: b.name("rule"), Conditions: conditions(), Actions: a})
	}
	prepended := false
	for _, op := range r.Operations {
		switch {
		case op.AddCommunity != "":
			action := &api.CommunityAction{Type: api.CommunityAction_ADD, Communities: []string{op.AddCommunity}}
			if strings.Count(op.AddCommunity, ":") == 1 {
				step(&api.Actions{Community: action})
			} else {
				step(&api.Actions{LargeCommunity: action})
			}
		case op.SetLocalPreference:
			step(&api.Actions{LocalPref: &api.LocalPrefAction{Value: op.LocalPreference}})
		}
		for i := len(op.Prepend) - 1; i >= 0; i-- {
			step(&api.Actions{AsPrepend: &api.AsPrependAction{Asn: op.Prepend[i], Repeat: 1}})
			path = append([]uint32{op.Prepend[i]}, path...)
			prepended = true
		}
	}
	if prepended && export && s.External() && path[0] != s.LocalAS {
		// The first number must be ours, or peers refuse the route (RFC 4271 section 6.3).
		step(&api.Actions{AsPrepend: &api.AsPrependAction{Asn: s.LocalAS, Repeat: 1}})
		path = append([]uint32{s.LocalAS}, path...)
	}
	action := api.RouteAction_REJECT
	if r.Accept {
		action = api.RouteAction_ACCEPT
	}
	step(&api.Actions{RouteAction: action})
	return statements
}

// asPath matches AS paths that begin with some numbers.
func (b *policyBuilder) asPath(numbers []uint32) *api.MatchSet {
	pattern := "^"
	for _, n := range numbers {
		pattern += fmt.Sprint(n) + "_"
	}
	return b.set(api.DefinedType_AS_PATH, b.name("paths"), []string{pattern}, nil)
}

// nextHop returns the statements that set a session's next hops, where GoBGP would not by itself.
func (b *policyBuilder) nextHop(s *bgpplan.Session) (statements []*api.Statement) {
	neighbor := b.neighbors(s.Peer)
	own, other := api.Family_AFI_IP, api.Family_AFI_IP6
	if s.Peer.Is6() {
		own, other = other, own
	}
	set := func(t api.Conditions_RouteType, afi api.Family_Afi, action *api.NexthopAction) {
		c := &api.Conditions{NeighborSet: neighbor, RouteType: t}
		if afi != api.Family_AFI_UNKNOWN {
			c.AfiSafiIn = []*api.Family{{Afi: afi, Safi: api.Family_SAFI_UNICAST}}
		}
		statements = append(statements, &api.Statement{Name: b.name("nexthop"), Conditions: c, Actions: &api.Actions{Nexthop: action}})
	}
	switch s.NextHop {
	case bgpplan.NextHopKeep:
		set(external, 0, &api.NexthopAction{Unchanged: true})
		set(internal, 0, &api.NexthopAction{Unchanged: true})
	case bgpplan.NextHopSelf:
		set(external, 0, &api.NexthopAction{Self: true})
		set(internal, 0, &api.NexthopAction{Self: true})
	}
	if s.OtherAddress.IsValid() && (s.NextHop == bgpplan.NextHopSelf || s.NextHop == bgpplan.NextHopAuto && s.External()) {
		// GoBGP names the session's own address, of whichever family the route is.
		set(external, other, &api.NexthopAction{Address: s.OtherAddress.String()})
		set(internal, other, &api.NexthopAction{Address: s.OtherAddress.String()})
	}
	if len(s.Link) > 0 {
		statements = append(statements, &api.Statement{Name: b.name("nexthop"), Actions: &api.Actions{Nexthop: &api.NexthopAction{Unchanged: true}},
			Conditions: &api.Conditions{NeighborSet: neighbor, RouteType: internal, NextHopInList: texts(s.Link)}})
	}
	if !s.SourceAddress.IsValid() { // The kernel chose the address, so it is not the one in the announcement.
		set(local, own, &api.NexthopAction{Self: true})
	}
	return statements
}

// defaultExports are the statements for what no rule has decided.
func (b *policyBuilder) defaultExports() []*api.Statement {
	accept := &api.Actions{RouteAction: api.RouteAction_ACCEPT}
	statements := []*api.Statement{{Name: "own", Conditions: &api.Conditions{RouteType: local}, Actions: accept}}
	var inside []netip.Addr
	var outside []*bgpplan.Session
	for i := range b.plan.Sessions {
		switch s := &b.plan.Sessions[i]; {
		case !s.Reflector:
		case s.External():
			outside = append(outside, s)
		default:
			inside = append(inside, s.Peer)
		}
	}
	if len(inside) > 0 {
		statements = append(statements, &api.Statement{Name: "reflect", Actions: accept,
			Conditions: &api.Conditions{RouteType: internal, NeighborSet: b.neighbors(inside...)}})
	}
	families := map[bool][]bgpplan.PrefixRange{}
	for _, p := range b.plan.ExportPrefixes {
		families[p.Addr().Is4()] = append(families[p.Addr().Is4()],
			bgpplan.PrefixRange{Prefix: p, Min: uint8(p.Bits()), Max: uint8(p.Addr().BitLen())})
	}
	for _, is4 := range []bool{true, false} {
		if len(outside) == 0 || len(families[is4]) == 0 {
			continue
		}
		pools := b.prefixes(families[is4])
		for _, s := range outside {
			statements = append(statements, &api.Statement{Name: b.name("pools"), Actions: accept, Conditions: &api.Conditions{
				RouteType: internal, NeighborSet: b.neighbors(s.Peer), PrefixSet: pools, NextHopInList: texts(s.Link)}})
		}
	}
	return statements
}

func texts(prefixes []netip.Prefix) (list []string) {
	for _, p := range prefixes {
		list = append(list, p.String())
	}
	return list
}
