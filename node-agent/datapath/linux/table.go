package linux

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/rtnl"
)

// table is what we know of our routes in the kernel's main table, so that one change among 100,000 routes needs no dump.
// It is filled by a dump, and kept by our own changes and by events of others' changes.
type table struct {
	routes map[netip.Prefix]route
	// extra are routes with our protocols that hide behind others for the same destination, or have a metric.
	extra []extraRoute
	valid bool
}

type extraRoute struct {
	dst netip.Prefix
	route
}

// fill replaces everything by what a dump shows.
func (t *table) fill(c *conn) error {
	_, err := rtnl.Whole(func() (struct{}, error) { return struct{}{}, t.fillOnce(c) })
	t.valid = err == nil
	return err
}

func (t *table) fillOnce(c *conn) error {
	if t.extra = nil; t.routes == nil {
		t.routes = map[netip.Prefix]route{}
	}
	clear(t.routes) // which keeps its memory: there will be about as many again
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		for _, protocol := range []byte{names.RouteProtocol, names.BGPRouteProtocol} {
			request := make([]byte, unix.SizeofRtMsg)
			request[0], request[5] = family, protocol
			err := c.dump(unix.RTM_GETROUTE, request, func(body []byte) {
				dst, r, ok := decodeRoute(body)
				if ok && r.protocol == protocol {
					t.enter(dst, r)
				}
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *table) enter(dst netip.Prefix, r route) {
	if _, twice := t.routes[dst]; twice || r.metric != defaultMetric(dst) {
		t.extra = append(t.extra, extraRoute{dst, r})
		return
	}
	t.routes[dst] = r
}

// forget drops the routes through links that went down or away: the kernel flushes them, for IPv4 without a word
// (fib_sync_down_dev).
func (t *table) forget(links []int32) {
	if len(links) == 0 {
		return
	}
	for dst, r := range t.routes {
		if r.more == "" && slices.Contains(links, r.hop.link) {
			delete(t.routes, dst)
		} else if r.more != "" && slices.ContainsFunc(links, r.uses) {
			t.valid = false
		}
	}
}

// event is what somebody did to a route of the main table.
type event struct {
	dst     netip.Prefix
	route   route
	deleted bool
	replace bool
	ofPod   bool // it leads to a pod's link
}

// follow keeps the table true to an event, or gives up until the next dump.
func (t *table) follow(e event) {
	have, known := t.routes[e.dst]
	switch {
	case !ours(e.route.protocol):
		if known && !e.deleted && e.replace {
			t.valid = false // a route of ours was replaced
		}
	case e.route.metric != defaultMetric(e.dst), e.route.more != "", known && have.more != "":
		t.valid = false
	case e.deleted && known && have == e.route:
		delete(t.routes, e.dst)
	case e.deleted && !known:
	case !e.deleted && (!known || e.replace || have == e.route):
		t.routes[e.dst] = e.route
	default:
		t.valid = false
	}
}
