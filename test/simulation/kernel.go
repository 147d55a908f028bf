package simulation

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// link is the host end of a pod's veth pair, with the routes to it.
type link struct {
	alias     veth.Alias
	addresses []netip.Addr
	complete  bool
	deleted   bool
}

// machine is one node: its kernel, its files, the container runtime, and the agent if it runs.
type machine struct {
	w     *World
	name  string
	dir   string // namespaces and checkpoint
	boots int
	on    bool
	// offSince is when the power went.
	offSince time.Time

	links map[string]*link // by host end
	pods  []*pod
	agent *agent

	split bool          // no packet reaches the API server
	clock time.Duration // how wrong its clock is
}

// namespace returns the path of a sandbox's network namespace. A link to a real one stands for it.
func (m *machine) namespace(container string) string { return filepath.Join(m.dir, "ns-"+container) }

func (m *machine) makeNamespace(container string) {
	if err := os.Symlink("/proc/self/ns/net", m.namespace(container)); err != nil {
		panic(fmt.Sprintf("make a namespace: %v", err))
	}
}

// dropNamespace ends a sandbox's namespace. Its veth pair goes with it.
func (m *machine) dropNamespace(container string) {
	_ = os.Remove(m.namespace(container))
	for name, l := range m.links {
		if l.alias.ContainerID == container {
			delete(m.links, name)
		}
	}
	if m.agent != nil {
		m.agent.keeper.LinksChanged()
	}
}

// linkNames returns the names of the links, sorted.
func (m *machine) linkNames() []string {
	out := make([]string, 0, len(m.links))
	for name := range m.links {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// wiring is a machine's kernel as one agent sees it. It implements cniserver.Wiring and records.Links.
type wiring struct {
	m *machine
	p *process
}

// change has the scheduler change the kernel.
func (k wiring) change(what, name string, effect func() error) error {
	return k.m.w.gate.pass(context.Background(), &call{of: k.p, key: k.p.name + " kernel " + what + " " + name, effect: effect})
}

// Wire makes a link in two steps, as the real one does: half, then whole. A crash can come between them.
func (k wiring) Wire(s veth.Spec) error {
	err := k.change("begins", s.HostInterface, func() error {
		if veth.NamespaceGone(s.NetworkNamespace) {
			return veth.ErrNoNamespace
		}
		if l := k.m.links[s.HostInterface]; l == nil || !l.complete {
			k.m.links[s.HostInterface] = &link{alias: s.Alias}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return k.change("wires", s.HostInterface, func() error {
		l := k.m.links[s.HostInterface]
		if l == nil || veth.NamespaceGone(s.NetworkNamespace) {
			return veth.ErrNoNamespace
		}
		*l = link{alias: s.Alias, addresses: slices.Clone(s.Addresses), complete: true}
		return nil
	})
}

// Check implements cniserver.Wiring. Nobody calls CHECK here.
func (k wiring) Check(veth.Spec) error { return nil }

// MarkDeleted implements cniserver.Wiring.
func (k wiring) MarkDeleted(name string) (there bool, err error) {
	err = k.change("marks", name, func() error {
		if l := k.m.links[name]; l != nil {
			l.deleted, there = true, true
		}
		return nil
	})
	return there, err
}

// Reap implements cniserver.Wiring.
func (k wiring) Reap(names []string) ([]string, error) {
	names = slices.Sorted(slices.Values(names))
	if k.m.w.bugs.keepLinks(k, names) {
		return names, nil
	}
	if k.p.dead {
		return nil, errCrashed
	}
	for _, name := range names { // a crash between here and the book's next step is a crash before that step
		delete(k.m.links, name)
	}
	return names, nil
}

// Links implements records.Links.
func (k wiring) Links() ([]veth.Found, error) { return k.List() }

// List implements records.Links.
func (k wiring) List() ([]veth.Found, error) {
	var out []veth.Found
	for _, name := range k.m.linkNames() {
		l := k.m.links[name]
		out = append(out, veth.Found{HostInterface: name, Alias: l.alias, Complete: l.complete, Deleted: l.deleted, Addresses: slices.Clone(l.addresses)})
	}
	return out, nil
}
