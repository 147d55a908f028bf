package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// encapsulation is what a pool's packets between nodes look like.
type encapsulation struct {
	// tunnel is nil where packets are never wrapped.
	tunnel tunnel
	// direct says that packets to a node of the same subnet are not wrapped.
	direct bool
}

// encapsulations are all that there are. A new one is a line here and a file beside ipip.go.
var encapsulations = map[v1alpha1.Encapsulation]encapsulation{
	v1alpha1.EncapsulationNone:             {direct: true},
	v1alpha1.EncapsulationIPIP:             {tunnel: ipipTunnel{}},
	v1alpha1.EncapsulationIPIPCrossSubnet:  {tunnel: ipipTunnel{}, direct: true},
	v1alpha1.EncapsulationVXLAN:            {tunnel: vxlanTunnel{}},
	v1alpha1.EncapsulationVXLANCrossSubnet: {tunnel: vxlanTunnel{}, direct: true},
}

// tunnel is all that the plan has to know of one way to wrap packets.
type tunnel interface {
	// kind is the kernel's name of the link's kind, and of the module.
	kind() LinkKind
	// device is the link's name.
	device() string
	// link is the link that this node needs, or says what the node lacks.
	link(in *Input) (Link, string)
	// carries says whether packets of a family can be wrapped.
	carries(v4 bool) bool
	// mtu is what the tunnel leaves of the underlay's MTU; not positive where that is not known.
	mtu(in *Input) int
	// local is the address of this node that the tunnel begins at.
	local(in *Input) netip.Addr
	// way leads to a block behind a node's address. It is not ok where the node has nothing yet that the way could lead to.
	way(l *Link, b Block, remote netip.Addr, n *node) (way, bool)
	// guards are the rules that keep others out of the tunnel.
	guards(in *Input, l *Link) guards
}

// guards are rules of nftables.
type guards struct {
	// input drops what no node sent; pod drops what a pod (already matched by its interface) wraps itself.
	input, pod []string
	// output corrects what this node sends.
	output []string
}

// tunnels returns each tunnel once, sorted by device.
func tunnels() []tunnel {
	byDevice := map[string]tunnel{}
	for _, e := range encapsulations {
		if e.tunnel != nil {
			byDevice[e.tunnel.device()] = e.tunnel
		}
	}
	out := make([]tunnel, 0, len(byDevice))
	for _, device := range slices.Sorted(maps.Keys(byDevice)) {
		out = append(out, byDevice[device])
	}
	return out
}

// TunnelDevices returns the names of all links that tunnels of ours may have.
func TunnelDevices() []string {
	var out []string
	for _, t := range tunnels() {
		out = append(out, t.device())
	}
	return out
}

// Everything is what a kernel can do that lacks nothing.
func Everything() Capabilities {
	c := Capabilities{Links: map[LinkKind]bool{}, NFTables: true}
	for _, t := range tunnels() {
		c.Links[t.kind()] = true
	}
	return c
}

// Encapsulations returns those that a kernel can do, sorted.
func (c Capabilities) Encapsulations() []v1alpha1.Encapsulation {
	var out []v1alpha1.Encapsulation
	for name, e := range encapsulations {
		if e.tunnel == nil || c.Links[e.tunnel.kind()] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// uses says whether packets of an encapsulation may go through a tunnel.
func uses(e v1alpha1.Encapsulation, t tunnel) bool { return encapsulations[e].tunnel == t }

// Uses says whether packets of the pool may arrive or leave through a device, now or soon.
func (p Pool) Uses(device string) bool {
	for _, e := range []v1alpha1.Encapsulation{p.Encapsulation, p.Sending} {
		if t := encapsulations[e].tunnel; t != nil && t.device() == device {
			return true
		}
	}
	return false
}

// makeTunnels plans the tunnel links that the pools need, sending or receiving, and their addresses.
func (p *Planner) makeTunnels() {
	for _, t := range tunnels() {
		if !p.needs(t) || !p.able(t) {
			continue
		}
		l, lacking := t.link(&p.in)
		if lacking != "" {
			p.fixedProblem(Problem{Reason: AddressMissing, Message: lacking})
			continue
		}
		p.links[t] = &l
		p.fixed.Links = append(p.fixed.Links, l)
		for _, v4 := range []bool{true, false} {
			if t.carries(v4) {
				p.ownAddress(t, v4)
			}
		}
	}
}

// needs says whether any pool is sent or received through a tunnel. While a pool is not settled, some node may still send
// it with what it had before, so a tunnel that exists stays.
func (p *Planner) needs(t tunnel) bool {
	exists := slices.Contains(p.in.Tunnels, t.device())
	for _, pool := range p.pools {
		if uses(pool.Encapsulation, t) || uses(pool.Sending, t) || (!pool.Settled && exists) {
			return true
		}
	}
	return false
}

// able reports the pools that need a kernel module which is missing.
func (p *Planner) able(t tunnel) bool {
	if p.in.Capabilities.Links[t.kind()] {
		return true
	}
	for _, pool := range p.pools {
		for _, e := range []v1alpha1.Encapsulation{pool.Encapsulation, pool.Sending} {
			if uses(e, t) {
				p.fixedProblem(Problem{Reason: ModuleMissing, Pool: pool.Name, Encapsulation: e, Module: string(t.kind()), Message: fmt.Sprintf(
					"Pool %s needs %s, but the kernel of node %s has no module %s: load or install it.", pool.Name, e, p.in.Node, t.kind())})
			}
		}
	}
	return false
}

// ownAddress gives a tunnel link the first address of a block of the node. A block whose pool uses this tunnel goes before
// one whose pool is still changing.
func (p *Planner) ownAddress(t tunnel, v4 bool) {
	for _, changing := range []bool{false, true} {
		for _, b := range p.own {
			pool, ok := p.pools[b.Pool]
			if !ok || b.Lender != "" || b.CIDR.IsSingleIP() || b.CIDR.Addr().Is4() != v4 || len(p.hits(b.CIDR)) > 0 {
				continue
			}
			if uses(pool.Encapsulation, t) || uses(pool.Sending, t) || (changing && !pool.Settled) {
				a := b.CIDR.Addr()
				p.fixed.Addresses = append(p.fixed.Addresses, Address{t.device(), netip.PrefixFrom(a, a.BitLen())})
				return
			}
		}
	}
}

// mtuOf returns what one encapsulation leaves of the underlay's MTU; not positive if that is not known.
func (p *Planner) mtuOf(name v1alpha1.Encapsulation, v4 bool) int {
	plain := p.in.V6.MTU
	if v4 {
		plain = p.in.V4.MTU
	}
	e := encapsulations[name]
	if e.tunnel == nil {
		return plain
	}
	mtu := e.tunnel.mtu(&p.in)
	if e.direct && plain > 0 {
		mtu = min(mtu, plain)
	}
	return mtu
}

// notPodInterfaces matches packets that come by another link than a pod's host end. Those in LikePods are left.
const notPodInterfaces = `iifname != "` + names.HostInterfacePrefix + `*"`
