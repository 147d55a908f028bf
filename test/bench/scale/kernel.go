package main

import (
	"net/netip"
	"sync"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/memory"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// stillKernel is a kernel in memory that nobody but the agent changes.
type stillKernel struct {
	*memory.Kernel

	mu    sync.Mutex
	links map[string]bool
}

func newStillKernel(address netip.Addr) *stillKernel {
	at := kernel.Observed{V4: plan.Underlay{Address: address, Subnet: nodeSubnet, Interface: "eth0", MTU: 1500}}
	return &stillKernel{Kernel: memory.New(at), links: map[string]bool{}}
}

func (k *stillKernel) addPod(hostInterface string) {
	k.mu.Lock()
	k.links[hostInterface] = true
	k.mu.Unlock()
	k.Wire(hostInterface)
}

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
