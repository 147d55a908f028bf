package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// makeRoutes adds and replaces routes, then removes what is not planned.
func (a *Applier) makeRoutes(target plan.Plan, r *report) {
	var missing additions
	known := 0
	for _, p := range target.Routes {
		if _, there := a.table.routes[p.Dst]; there {
			known++
		}
		if planned(target, p.NextHop.Device) && a.last.links[p.NextHop.Device] == nil {
			continue // reported once, with the link
		}
		a.compare(p, &missing, r)
	}
	a.add(&missing, r)
	if known < len(a.table.routes) || len(a.table.extra) > 0 {
		a.removeRoutes(target, r)
	}
}

// changeRoutes brings single destinations to what is planned for them, by what the last Observe found.
func (a *Applier) changeRoutes(changes []plan.RouteChange, r *report) {
	var missing additions
	var gone []extraRoute
	for _, c := range changes {
		if !c.Gone {
			a.compare(c.Route, &missing, r)
		} else if have, there := a.table.routes[c.Dst]; there {
			gone = append(gone, extraRoute{c.Dst, have})
		}
	}
	a.add(&missing, r)
	a.remove(gone, r)
}

// additions are routes to be added or replaced, after those that are in their way are gone.
type additions struct {
	inTheWay []extraRoute
	batch    batch
	planned  []plan.Route
	wanted   []route
}

// compare notes a route for add if the kernel does not show it as planned.
func (a *Applier) compare(p plan.Route, missing *additions, r *report) {
	have, there := a.table.routes[p.Dst]
	want, err := a.wanted(p)
	switch {
	case err != nil:
		if !names.IsHostInterface(p.NextHop.Device) { // else the pod has just gone
			r.route(p.Dst, p.NextHop.Device).fail(err, "add route %s", p)
		}
		return
	case there && have == want:
		return
	}
	if there && p.Yields() { // not in one step: a pod's route may have come since the look, and must not be replaced
		missing.inTheWay = append(missing.inTheWay, extraRoute{p.Dst, have})
		there = false
	}
	// Without a route of ours there, one of somebody else must not be replaced.
	flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL
	if there {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	missing.batch.route(unix.RTM_NEWROUTE, flags, p.Dst, want)
	missing.planned, missing.wanted = append(missing.planned, p), append(missing.wanted, want)
}

// add adds and replaces routes.
func (a *Applier) add(missing *additions, r *report) {
	a.remove(missing.inTheWay, r)
	for i, err := range a.conn.do(&missing.batch) {
		p, want := missing.planned[i], missing.wanted[i]
		if errors.Is(err, unix.EEXIST) {
			err = a.reconsider(p, want, err)
		}
		if errors.Is(err, errPodCame) {
			continue
		}
		if podGone := errors.Is(err, unix.ENODEV) && names.IsHostInterface(p.NextHop.Device); podGone {
			continue
		}
		if err != nil {
			r.route(p.Dst, p.NextHop.Device).fail(err, "add route %s", p)
			continue
		}
		r.Changes++
		a.table.routes[p.Dst] = want
	}
}

// wanted turns a planned route into what the kernel will show.
func (a *Applier) wanted(p plan.Route) (route, error) {
	w := route{protocol: uint8(p.Protocol), kind: unix.RTN_UNICAST, metric: defaultMetric(p.Dst)}
	if p.Blackhole() {
		w.kind = unix.RTN_BLACKHOLE
		return w, nil
	}
	if !p.NextHop.Via.IsValid() && p.Dst.Addr().Is4() {
		w.scope = unix.RT_SCOPE_LINK
	}
	var err error
	if w.hop, err = a.hop(p.NextHop); err != nil || len(p.More) == 0 {
		return w, err
	}
	hops := []hop{w.hop}
	for _, m := range p.More {
		h, err := a.hop(m)
		if err != nil {
			return w, err
		}
		hops = append(hops, h)
	}
	sortHops(hops)
	w.hop, w.more = hops[0], packHops(hops[1:])
	return w, nil
}

func (a *Applier) hop(n plan.NextHop) (hop, error) {
	link, err := a.index(a.last, n.Device)
	return hop{via: n.Via, link: link, onLink: n.OnLink}, err
}

// errPodCame says that a route which yields to pods has met a pod's.
var errPodCame = errors.New("a pod has the address now")

// reconsider looks at the route that is in the way: one of ours that an ADD has made since Read is taken over, or yielded to.
func (a *Applier) reconsider(p plan.Route, want route, cause error) error {
	found, err := a.nl.RouteGetWithOptions(p.Dst.Addr().AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil || len(found) != 1 || !ours(uint8(found[0].Protocol)) {
		return cause
	}
	if !leadsTo(found[0].Dst, p.Dst) {
		return cause
	}
	if p.Yields() {
		return errPodCame
	}
	var b batch
	b.route(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, p.Dst, want)
	return a.conn.do(&b)[0]
}

// leadsTo says whether a route found for an address is one to the whole destination. A default route has none.
func leadsTo(found *net.IPNet, dst netip.Prefix) bool {
	if found == nil {
		return dst.Bits() == 0
	}
	ones, _ := found.Mask.Size()
	return ones == dst.Bits()
}

// removeRoutes removes the routes of ours that are not planned, but for those of pods that are being wired.
func (a *Applier) removeRoutes(target plan.Plan, r *report) {
	keep := map[int32]bool{}
	for _, name := range target.Keep {
		if l, ok := a.last.links[name]; ok {
			keep[int32(l.Attrs().Index)] = true
		}
	}
	stale := a.table.extra
	a.table.extra = nil
	for dst, have := range a.table.routes {
		if !inPlan(target, dst) && !slices.Contains(target.KeepTo, dst) && !(have.more == "" && keep[have.hop.link]) {
			stale = append(stale, extraRoute{dst, have})
		}
	}
	a.remove(stale, r)
}

// remove removes routes.
func (a *Applier) remove(stale []extraRoute, r *report) {
	var b batch
	for _, s := range stale {
		b.route(unix.RTM_DELROUTE, 0, s.dst, s.route)
	}
	for i, err := range a.conn.do(&b) {
		s := stale[i]
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
			r.route(s.dst, "").fail(err, "delete route %s", s)
			continue
		}
		r.Changes++
		if a.table.routes[s.dst] == s.route {
			delete(a.table.routes, s.dst)
		}
	}
}

func inPlan(target plan.Plan, dst netip.Prefix) bool {
	_, found := slices.BinarySearchFunc(target.Routes, dst, func(r plan.Route, dst netip.Prefix) int {
		return plan.ComparePrefixes(r.Dst, dst)
	})
	return found
}

// String shows the route well enough to find it.
func (e extraRoute) String() string {
	return fmt.Sprintf("%s proto %d metric %d via %s dev #%d", e.dst, e.protocol, e.metric, e.hop.via, e.hop.link)
}
