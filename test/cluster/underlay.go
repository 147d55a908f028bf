package cluster

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// The router's own addresses; the API server listens at one of them.
const apiV4, apiV6 = "172.30.0.1", "fd00:30::1"

// apiAddress is where the API server listens.
func (o Options) apiAddress() netip.Addr {
	if o.IPv6Only {
		return netip.MustParseAddr(apiV6)
	}
	return netip.MustParseAddr(apiV4)
}

// APIServer is where the API server listens, as an address with its port.
func (c *Cluster) APIServer() string { return netip.AddrPortFrom(c.o.apiAddress(), 6443).String() }

// The underlay's plan is the lab's: subnet n is 172.30.n.0/24 and fd00:30:n::/64, the router is .1 and ::1.
func bridgeName(subnet int) string { return fmt.Sprintf("sub-%d", subnet) }

func hostAddresses(subnet, host int) (v4, v6 netip.Addr) {
	return netip.MustParseAddr(fmt.Sprintf("172.30.%d.%d", subnet, host)), netip.MustParseAddr(fmt.Sprintf("fd00:30:%d::%d", subnet, host))
}

// Addresses are those that the node has: one of each family that the cluster knows.
func (n *Node) Addresses() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{n.V4, n.V6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// gateway is the router's address in a subnet, of the same family as the given one.
func gateway(subnet int, family netip.Addr) netip.Addr {
	v4, v6 := hostAddresses(subnet, 1)
	if family.Is4() {
		return v4
	}
	return v6
}

// withLength is an address with the length of its subnet's prefix.
func withLength(a netip.Addr) string {
	if a.Is4() {
		return a.String() + "/24"
	}
	return a.String() + "/64"
}

// makeUnderlay makes the subnets and the router between them, which is this process' network namespace.
func makeUnderlay(ctx context.Context, o Options, subnets int) error {
	api := o.apiAddress()
	if err := machine.IPBatch(ctx, "link set lo up", "addr add "+netip.PrefixFrom(api, api.BitLen()).String()+" dev lo"); err != nil {
		return fmt.Errorf("make the router: %w", err)
	}
	for n := 1; n <= subnets; n++ {
		v4, v6 := hostAddresses(n, 1)
		on := []string{withLength(v6)}
		if !o.IPv6Only {
			on = append(on, withLength(v4))
		}
		if err := machine.Bridge(ctx, bridgeName(n), on, nil); err != nil {
			return fmt.Errorf("make subnet %d: %w", n, err)
		}
	}
	return nil
}

// removeUnderlay removes what makeUnderlay has made, as far as it is there.
func removeUnderlay(ctx context.Context, o Options) {
	api := o.apiAddress()
	_ = machine.IPBatch(ctx, "addr del "+netip.PrefixFrom(api, api.BitLen()).String()+" dev lo")
	for n := 1; n <= max(o.Subnets, 1); n++ {
		_ = machine.IPBatch(ctx, "link del "+bridgeName(n))
	}
}
