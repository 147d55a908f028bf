package main

import (
	"context"
	"net/netip"
	"sync"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// stillKernel takes every plan and shows it. It has no events of its own.
type stillKernel struct {
	address netip.Addr

	mu    sync.Mutex
	links map[string]bool
}

func newStillKernel(address netip.Addr) *stillKernel {
	return &stillKernel{address: address, links: map[string]bool{}}
}

func (k *stillKernel) addPod(hostInterface string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.links[hostInterface] = true
}

// Probe implements datapath.Kernel.
func (k *stillKernel) Probe(context.Context) plan.Capabilities {
	return plan.Capabilities{IPIP: true, VXLAN: true, NFTables: true}
}

// Watch implements datapath.Kernel.
func (k *stillKernel) Watch(context.Context) kernel.Events {
	return kernel.Events{Changed: make(chan struct{}), Pods: make(chan struct{})}
}

// Observe implements datapath.Kernel.
func (k *stillKernel) Observe(context.Context, kernel.Query) (kernel.Observed, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	links := make(map[string]bool, len(k.links))
	for name := range k.links {
		links[name] = true
	}
	return kernel.Observed{
		V4:    plan.Underlay{Address: k.address, Subnet: nodeSubnet, Interface: "eth0", MTU: 1500},
		Links: links,
	}, nil
}

// Apply implements datapath.Kernel.
func (k *stillKernel) Apply(_ context.Context, p plan.Plan) kernel.Report {
	return kernel.Report{Routes: p.Counts()}
}

// ApplyRoutes implements datapath.Kernel.
func (k *stillKernel) ApplyRoutes([]plan.RouteChange) (kernel.Report, bool) {
	return kernel.Report{}, true
}

// Close implements datapath.Kernel.
func (k *stillKernel) Close() error { return nil }

// Links implements records.Links: every pod's link is whole.
func (k *stillKernel) Links() ([]veth.Found, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []veth.Found
	for name := range k.links {
		out = append(out, veth.Found{HostInterface: name, Complete: true})
	}
	return out, nil
}

// List implements records.Links. It is asked at the start only, when there are none.
func (k *stillKernel) List() ([]veth.Found, error) { return nil, nil }

// ShrinkMTU implements datapath.Pods.
func (k *stillKernel) ShrinkMTU(_, _, _ string, _ int) error { return nil }
