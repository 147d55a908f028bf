// Package memory is a kernel of values: it keeps the links, addresses, routes, neighbours, FDB entries, settings and the
// filter that a plan wants, shows them, and can refuse objects. Simulations and tests of the datapath's loop use it in place
// of package linux. It forwards no packets.
package memory

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Kernel is a datapath.Kernel. It is safe for concurrent use.
type Kernel struct {
	mu           sync.Mutex
	capabilities plan.Capabilities
	base         kernel.Observed
	pods         map[string]bool
	disturbed    bool
	refuse       func(object string) error
	busy         int

	links      map[string]plan.Link
	addresses  map[plan.Address]bool
	neighbours map[key]string // MACs
	fdb        map[fdbKey]netip.Addr
	routes     map[netip.Prefix]plan.Route
	settings   map[string]string
	firewall   plan.Firewall
	calls      Calls

	changed, podCame chan struct{} // nil before Watch
}

// Calls counts what was asked of a kernel.
type Calls struct {
	// Observes are looks, Everything those of them that looked at all.
	Observes, Everything int
	// Applies are comparisons with a whole plan, Changes applications of what has changed only.
	Applies, Changes int
	// Objects were added, changed or removed.
	Objects int
}

type key struct {
	device  string
	address netip.Addr
}

type fdbKey struct{ device, mac string }

// New returns the kernel of a node that nothing has been done to. at says where the node is; it can do everything.
func New(at kernel.Observed) *Kernel {
	return &Kernel{
		capabilities: plan.Everything(), base: at, pods: map[string]bool{}, refuse: func(string) error { return nil },
		links: map[string]plan.Link{}, addresses: map[plan.Address]bool{}, neighbours: map[key]string{}, fdb: map[fdbKey]netip.Addr{},
		routes: map[netip.Prefix]plan.Route{}, settings: map[string]string{},
		disturbed: true,
	}
}

// Probe implements datapath.Kernel.
func (k *Kernel) Probe(context.Context) plan.Capabilities {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.capabilities
}

// Watch implements datapath.Kernel.
func (k *Kernel) Watch(context.Context) kernel.Events {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changed, k.podCame = make(chan struct{}, 1), make(chan struct{}, 1)
	return kernel.Events{Changed: k.changed, Pods: k.podCame}
}

// Observe implements datapath.Kernel.
func (k *Kernel) Observe(ctx context.Context, q kernel.Query) (kernel.Observed, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls.Observes++
	if q.Everything {
		k.calls.Everything++
	}
	if k.busy > 0 {
		k.busy--
		return kernel.Observed{}, kernel.ErrBusy
	}
	o := k.base
	o.Disturbed = k.disturbed || q.Everything
	k.disturbed = false
	o.Tunnels = slices.Sorted(maps.Keys(k.links))
	if len(o.Tunnels) == 0 {
		o.Tunnels = nil
	}
	o.Links = maps.Clone(k.pods)
	for _, name := range o.Tunnels {
		o.Links[name] = true
	}
	for _, u := range []plan.Underlay{o.V4, o.V6} {
		o.Links[u.Interface] = u.Interface != ""
	}
	if !q.Fabric {
		o.Fabric = nil
	}
	return o, ctx.Err()
}

// Close implements datapath.Kernel.
func (k *Kernel) Close() error { return nil }

// Apply implements datapath.Kernel.
func (k *Kernel) Apply(_ context.Context, p plan.Plan) kernel.Report {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls.Applies++
	r := &report{kernel: k}
	wanted := map[string]bool{}
	for _, l := range p.Links {
		wanted[l.Name] = true
		put(r, k.links, l.Name, l, func() kernel.Failure { return kernel.Failure{Object: "make " + l.String(), Device: l.Name} })
	}
	for _, a := range p.Addresses {
		put(r, k.addresses, a, true, func() kernel.Failure { return kernel.Failure{Object: "add " + a.String(), Device: a.Device} })
	}
	r.set(p.Sysctls)
	neighbours, fdb := r.addEntries(p.Neighbours, p.FDB)
	r.filter(p.Firewall)
	keep := map[string]bool{}
	for _, device := range p.Keep {
		keep[device] = true
	}
	routes := make(map[netip.Prefix]bool, len(p.Routes))
	for _, route := range p.Routes {
		routes[route.Dst] = true
		r.route(route)
	}
	prune(r, k.routes, func(dst netip.Prefix, have plan.Route) bool {
		return routes[dst] || keep[have.NextHop.Device] || slices.Contains(p.KeepTo, dst)
	})
	prune(r, k.neighbours, func(at key, _ string) bool { return neighbours[at] })
	prune(r, k.fdb, func(at fdbKey, _ netip.Addr) bool { return fdb[at] })
	prune(r, k.addresses, func(a plan.Address, _ bool) bool { return slices.Contains(p.Addresses, a) })
	prune(r, k.links, func(name string, _ plan.Link) bool { return wanted[name] })
	k.calls.Objects += r.done.Changes
	return r.done
}

// ApplyChanges implements datapath.Kernel.
func (k *Kernel) ApplyChanges(_ context.Context, c plan.Changes) (kernel.Report, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.disturbed {
		return kernel.Report{}, false
	}
	k.calls.Changes++
	r := &report{kernel: k}
	r.set(c.Sysctls)
	r.addEntries(c.Neighbours, c.FDB)
	if c.Firewall != nil {
		r.filter(*c.Firewall)
	}
	for _, change := range c.Routes {
		if change.Gone {
			remove(r, k.routes, change.Dst)
		} else {
			r.route(change.Route)
		}
	}
	for _, n := range c.NeighboursGone {
		remove(r, k.neighbours, key{n.Device, n.Address})
	}
	for _, f := range c.FDBGone {
		remove(r, k.fdb, fdbKey{f.Device, f.MAC})
	}
	k.calls.Objects += r.done.Changes
	return r.done, true
}

// report is written while a kernel is changed.
type report struct {
	kernel *Kernel
	done   kernel.Report
}

// put adds or replaces an object, unless it is refused. An object that is there is asked about too: a foreign one may be in
// its way.
func put[K comparable, V any](r *report, all map[K]V, at K, want V, object func() kernel.Failure) {
	if have, there := all[at]; there && same(have, want) {
		return
	}
	what := object()
	if what.Err = r.kernel.refuse(what.Object); what.Err != nil {
		r.done.Failures = append(r.done.Failures, what)
		return
	}
	all[at] = want
	r.done.Changes++
}

func same(a, b any) bool {
	if r, ok := a.(plan.Route); ok {
		return r.Equal(b.(plan.Route)) //nolint:forcetypeassert // both are of one map
	}
	return a == b
}

func remove[K comparable, V any](r *report, all map[K]V, at K) {
	if _, there := all[at]; there {
		delete(all, at)
		r.done.Changes++
	}
}

func prune[K comparable, V any](r *report, all map[K]V, keep func(K, V) bool) {
	for at, have := range all {
		if !keep(at, have) {
			remove(r, all, at)
		}
	}
}

func (r *report) route(route plan.Route) {
	k := r.kernel
	if _, noLink := k.pods[route.NextHop.Device]; !noLink && names.IsHostInterface(route.NextHop.Device) {
		return // the pod has just gone
	}
	put(r, k.routes, route.Dst, route, func() kernel.Failure {
		return kernel.Failure{Object: "add route " + route.String(), Dst: route.Dst, Device: route.NextHop.Device}
	})
}

func (r *report) set(settings []plan.Sysctl) {
	for _, s := range settings {
		put(r, r.kernel.settings, s.Key, s.Value, func() kernel.Failure { return kernel.Failure{Object: "set sysctl " + s.String()} })
	}
}

func (r *report) addEntries(neighbours []plan.Neighbour, fdb []plan.FDBEntry) (map[key]bool, map[fdbKey]bool) {
	wanted, behind := make(map[key]bool, len(neighbours)), make(map[fdbKey]bool, len(fdb))
	for _, n := range neighbours {
		at := key{n.Device, n.Address}
		wanted[at] = true
		put(r, r.kernel.neighbours, at, n.MAC, func() kernel.Failure { return kernel.Failure{Object: "add " + n.String(), Device: n.Device} })
	}
	for _, f := range fdb {
		at := fdbKey{f.Device, f.MAC}
		behind[at] = true
		put(r, r.kernel.fdb, at, f.Node, func() kernel.Failure { return kernel.Failure{Object: "add " + f.String(), Device: f.Device} })
	}
	return wanted, behind
}

func (r *report) filter(f plan.Firewall) {
	if f.String() == r.kernel.firewall.String() {
		return
	}
	if err := r.kernel.refuse("write nftables table"); err != nil {
		r.done.Failures = append(r.done.Failures, kernel.Failure{Object: "write nftables table", Err: err})
		return
	}
	r.kernel.firewall = f
	r.done.Changes++
}

// String shows the kernel as a plan that it would be the result of, without problems and MTUs.
func (k *Kernel) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := plan.Plan{Firewall: k.firewall}
	for _, name := range slices.Sorted(maps.Keys(k.links)) {
		p.Links = append(p.Links, k.links[name])
	}
	for a := range k.addresses {
		p.Addresses = append(p.Addresses, a)
	}
	for at, mac := range k.neighbours {
		p.Neighbours = append(p.Neighbours, plan.Neighbour{Device: at.device, Address: at.address, MAC: mac})
	}
	for at, node := range k.fdb {
		p.FDB = append(p.FDB, plan.FDBEntry{Device: at.device, MAC: at.mac, Node: node})
	}
	for _, route := range k.routes {
		p.Routes = append(p.Routes, route)
	}
	sorted(p.Addresses)
	sorted(p.Neighbours)
	sorted(p.FDB)
	slices.SortFunc(p.Routes, func(a, b plan.Route) int { return plan.ComparePrefixes(a.Dst, b.Dst) })
	for _, name := range slices.Sorted(maps.Keys(k.settings)) {
		p.Sysctls = append(p.Sysctls, plan.Sysctl{Key: name, Value: k.settings[name]})
	}
	return p.String()
}

func sorted[T fmt.Stringer](list []T) {
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(a.String(), b.String()) })
}
