package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// makeRoutes adds and replaces routes, then removes what is not planned.
func (a *Applier) makeRoutes(actual *actual, target plan.Plan, r *report) {
	good := map[plan.RouteCount]int32{}
	tally := func(p plan.Route) { good[plan.RouteCount{Source: p.Source, Protocol: int32(p.Protocol)}]++ }
	var missing additions
	known := 0
	for _, p := range target.Routes {
		if _, there := a.table.routes[p.Dst]; there {
			known++
		}
		if planned(target, p.NextHop.Device) && actual.links[p.NextHop.Device] == nil {
			continue // reported once, with the link
		}
		if a.compare(actual, p, &missing, r) {
			tally(p)
		}
	}
	a.add(&missing, r, tally)
	if known < len(a.table.routes) || len(a.table.extra) > 0 {
		a.removeRoutes(actual, target, r)
	}
	for k, n := range good {
		k.Count = n
		r.Routes = append(r.Routes, k)
	}
	slices.SortFunc(r.Routes, func(a, b plan.RouteCount) int {
		if a.Protocol != b.Protocol {
			return int(a.Protocol - b.Protocol)
		}
		if a.Source < b.Source {
			return -1
		}
		return 1
	})
}

// additions are routes to be added or replaced.
type additions struct {
	batch   batch
	planned []plan.Route
	wanted  []route
}

// compare reports whether the kernel shows a route as planned, and notes it for add where it does not.
func (a *Applier) compare(actual *actual, p plan.Route, missing *additions, r *report) bool {
	have, there := a.table.routes[p.Dst]
	want, err := a.wanted(actual, p)
	switch {
	case err != nil:
		r.fail(err, "add route %s", p)
		return false
	case there && have == want:
		return true
	}
	// Without a route of ours there, one of somebody else must not be replaced.
	flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL
	if there {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	missing.batch.route(unix.RTM_NEWROUTE, flags, p.Dst, want)
	missing.planned, missing.wanted = append(missing.planned, p), append(missing.wanted, want)
	return false
}

// add adds and replaces routes, and calls done for each that the kernel has taken.
func (a *Applier) add(missing *additions, r *report, done func(plan.Route)) {
	for i, err := range a.conn.do(&missing.batch) {
		p, want := missing.planned[i], missing.wanted[i]
		if errors.Is(err, unix.EEXIST) {
			err = a.reconsider(p, want, err)
		}
		if err != nil {
			r.fail(err, "add route %s", p)
			continue
		}
		r.Changes++
		a.table.routes[p.Dst] = want
		done(p)
	}
}

// ApplyRoutes brings single destinations of learned routes to what is planned for them, by what the last Observe found. It
// reports false, and has done nothing, where the kernel must be read first.
func (a *Applier) ApplyRoutes(changes []plan.RouteChange) (kernel.Report, bool) {
	var r report
	if !a.table.valid || a.last == nil {
		return r.Report, false
	}
	var missing additions
	var gone []extraRoute
	for _, c := range changes {
		if !c.Gone {
			a.compare(a.last, c.Route, &missing, &r)
		} else if have, there := a.table.routes[c.Dst]; there && have.protocol == names.BGPRouteProtocol {
			gone = append(gone, extraRoute{c.Dst, have})
		}
	}
	a.add(&missing, &r, func(plan.Route) {})
	a.remove(gone, &r)
	return r.Report, true
}

// wanted turns a planned route into what the kernel will show.
func (a *Applier) wanted(actual *actual, p plan.Route) (route, error) {
	w := route{protocol: uint8(p.Protocol), kind: unix.RTN_UNICAST, metric: defaultMetric(p.Dst)}
	if p.Blackhole() {
		w.kind = unix.RTN_BLACKHOLE
		return w, nil
	}
	if !p.NextHop.Via.IsValid() && p.Dst.Addr().Is4() {
		w.scope = unix.RT_SCOPE_LINK
	}
	var err error
	if w.hop, err = a.hop(actual, p.NextHop); err != nil || len(p.More) == 0 {
		return w, err
	}
	hops := []hop{w.hop}
	for _, m := range p.More {
		h, err := a.hop(actual, m)
		if err != nil {
			return w, err
		}
		hops = append(hops, h)
	}
	sortHops(hops)
	w.hop, w.more = hops[0], packHops(hops[1:])
	return w, nil
}

func (a *Applier) hop(actual *actual, n plan.NextHop) (hop, error) {
	link, err := a.index(actual, n.Device)
	return hop{via: n.Via, link: link, onLink: n.OnLink}, err
}

// reconsider looks at the route that is in the way: one of ours that an ADD has made since Read is taken over.
func (a *Applier) reconsider(p plan.Route, want route, cause error) error {
	found, err := a.nl.RouteGetWithOptions(p.Dst.Addr().AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil || len(found) != 1 || !ours(uint8(found[0].Protocol)) {
		return cause
	}
	if ones, _ := found[0].Dst.Mask.Size(); found[0].Dst == nil || ones != p.Dst.Bits() {
		return cause
	}
	var b batch
	b.route(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, p.Dst, want)
	return a.conn.do(&b)[0]
}

// removeRoutes removes the routes of ours that are not planned, but for those of pods that are being wired.
func (a *Applier) removeRoutes(actual *actual, target plan.Plan, r *report) {
	keep := map[int32]bool{}
	for _, name := range target.Keep {
		if l, ok := actual.links[name]; ok {
			keep[int32(l.Attrs().Index)] = true
		}
	}
	stale := a.table.extra
	a.table.extra = nil
	for dst, have := range a.table.routes {
		if !inPlan(target, dst) && !(have.more == "" && keep[have.hop.link]) {
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
			r.fail(err, "delete route %s", s)
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
