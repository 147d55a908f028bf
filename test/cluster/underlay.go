package cluster

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// apiAddress is the router's own; the API server listens there.
const apiAddress = "172.30.0.1"

// The underlay's plan is the lab's: subnet n is 172.30.n.0/24 and fd00:30:n::/64, the router is .1 and ::1.
func bridgeName(subnet int) string { return fmt.Sprintf("sub-%d", subnet) }

func hostAddresses(subnet, host int) (v4, v6 netip.Addr) {
	return netip.MustParseAddr(fmt.Sprintf("172.30.%d.%d", subnet, host)), netip.MustParseAddr(fmt.Sprintf("fd00:30:%d::%d", subnet, host))
}

func gateways(subnet int) (v4, v6 netip.Addr) { return hostAddresses(subnet, 1) }

// withLength is an address with the length of its subnet's prefix.
func withLength(a netip.Addr) string {
	if a.Is4() {
		return a.String() + "/24"
	}
	return a.String() + "/64"
}

// makeUnderlay makes the subnets and the router between them, which is this process' network namespace.
func makeUnderlay(ctx context.Context, subnets int) error {
	if err := machine.IPBatch(ctx, "link set lo up", "addr add "+apiAddress+"/32 dev lo"); err != nil {
		return fmt.Errorf("make the router: %w", err)
	}
	for n := 1; n <= subnets; n++ {
		v4, v6 := gateways(n)
		if err := machine.Bridge(ctx, bridgeName(n), []string{v4.String() + "/24", v6.String() + "/64"}, nil); err != nil {
			return fmt.Errorf("make subnet %d: %w", n, err)
		}
	}
	return nil
}
