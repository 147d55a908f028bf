package memory

import (
	"net/netip"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// What follows plays the world outside of the datapath: people, pods and other programs.

// Calls returns what was asked of the kernel so far.
func (k *Kernel) Calls() Calls {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls
}

// Route returns the route to a destination.
func (k *Kernel) Route(dst netip.Prefix) (plan.Route, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.routes[dst]
	return r, ok
}

// Refuse lets the kernel refuse objects: f gets what is attempted, for example "add route 10.0.1.0/26 via 192.168.0.2 dev
// eth0 proto 202". nil lets it take everything.
func (k *Kernel) Refuse(f func(object string) error) {
	if f == nil {
		f = func(string) error { return nil }
	}
	k.mu.Lock()
	k.refuse = f
	k.mu.Unlock()
}

// Busy lets the next looks fail because the kernel changes too fast.
func (k *Kernel) Busy(times int) {
	k.mu.Lock()
	k.busy = times
	k.mu.Unlock()
}

// Can says what the kernel can do.
func (k *Kernel) Can(c plan.Capabilities) {
	k.mu.Lock()
	k.capabilities = c
	k.mu.Unlock()
}

// Move changes where the node is, as its administrator would, and tells the watchers.
func (k *Kernel) Move(change func(at *kernel.Observed)) {
	k.mu.Lock()
	change(&k.base)
	signal(k.changed)
	k.mu.Unlock()
}

// RemoveRoute removes a route, as somebody would with `ip route del`.
func (k *Kernel) RemoveRoute(dst netip.Prefix) {
	k.mu.Lock()
	delete(k.routes, dst)
	k.disturbed = true
	signal(k.changed)
	k.mu.Unlock()
}

// Wire plays an ADD: the pod's link comes, with the routes to its addresses.
func (k *Kernel) Wire(hostInterface string, routes ...plan.Route) {
	k.mu.Lock()
	k.pods[hostInterface] = true
	for _, r := range routes {
		k.routes[r.Dst] = r
	}
	signal(k.podCame)
	k.mu.Unlock()
}

// Unwire plays a DEL: the pod's link goes, and the kernel removes its routes.
func (k *Kernel) Unwire(hostInterface string) {
	k.mu.Lock()
	delete(k.pods, hostInterface)
	for dst, r := range k.routes {
		if r.NextHop.Device == hostInterface {
			delete(k.routes, dst)
		}
	}
	signal(k.changed)
	k.mu.Unlock()
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
