package conformance

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/cluster"
)

// followBlocks keeps a route to each block of pods' addresses in the API server's network until the context ends. The tests
// reach pods through the API server's proxy, and it runs beside the nodes, not on one of them.
func followBlocks(ctx context.Context, c *cluster.Cluster) {
	for ; ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
		var blocks v1alpha1.IPBlockList
		if err := c.Client.List(ctx, &blocks); err != nil {
			continue // The next turn asks again.
		}
		cmd := exec.CommandContext(ctx, "ip", "-force", "-batch", "-")
		cmd.Stdin = strings.NewReader(routes(blocks.Items))
		_ = cmd.Run() // A block that has just gone is no error, and the next turn tries again.
	}
}

// routes are commands of ip that route each block to its node. Blocks whose node has no address of their family yet have none.
func routes(blocks []v1alpha1.IPBlock) string {
	var b strings.Builder
	for _, block := range blocks {
		cidr, err := netip.ParsePrefix(block.Spec.CIDR)
		if err != nil {
			continue
		}
		for _, text := range block.Spec.NodeAddresses {
			if via, err := netip.ParseAddr(text); err == nil && via.Is4() == cidr.Addr().Is4() {
				fmt.Fprintf(&b, "route replace %s via %s\n", cidr, via)
			}
		}
	}
	return b.String()
}
