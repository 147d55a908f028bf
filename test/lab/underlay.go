package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/causeway-net/causeway/test/lab/machine"
)

const outsideNumber = 9

// The underlay's plan: subnet n is 172.30.n.0/24 and fd00:30:n::/64 on bridge sub-<n>, the router is .1 and ::1.
func bridgeName(subnet int) string { return fmt.Sprintf("sub-%d", subnet) }

func subnetAddresses(subnet, host int) (v4, v6 netip.Prefix) {
	return netip.MustParsePrefix(fmt.Sprintf("172.30.%d.%d/24", subnet, host)),
		netip.MustParsePrefix(fmt.Sprintf("fd00:30:%d::%d/64", subnet, host))
}

// makeUnderlay makes the subnets, the router between them, and the place for the outside.
func makeUnderlay(ctx context.Context, subnets int) error {
	if out, err := ip(ctx, "link set lo up", "addr add "+apiAddress+"/32 dev lo"); err != nil {
		return fmt.Errorf("make the router: %w: %s", err, out)
	}
	for _, n := range append(numbers(subnets), outsideNumber) {
		v4, v6 := subnetAddresses(n, 1)
		if err := machine.Bridge(ctx, bridgeName(n), []string{v4.String(), v6.String()}, nil); err != nil {
			return fmt.Errorf("make subnet %d: %w", n, err)
		}
	}
	return nil
}

func removeUnderlay(ctx context.Context, subnets int) error {
	lines := []string{"addr del " + apiAddress + "/32 dev lo"}
	for _, n := range append(numbers(subnets), outsideNumber) {
		lines = append(lines, "link del "+bridgeName(n))
	}
	if out, err := ip(ctx, lines...); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func numbers(n int) []int {
	var out []int
	for i := 1; i <= n; i++ {
		out = append(out, i)
	}
	return out
}

func ip(ctx context.Context, lines ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// chooseKernel decides where the nodes run.
func chooseKernel(ctx context.Context, o Options) (string, error) {
	kernel := o.Kernel
	if kernel == "" {
		kernel = environment(KernelVariable, KernelAuto)
	}
	able := hostCan(ctx, "ipip")
	switch {
	case kernel == KernelAuto && o.NeedIPIP && !able:
		return KernelVM, nil
	case kernel == KernelAuto:
		return KernelHost, nil
	case kernel == KernelHost && o.NeedIPIP && !able:
		return "", errors.New("this needs IPIP, and the running kernel has no module ipip: run with KERNEL=vm or KERNEL=auto")
	case kernel == KernelHost, kernel == KernelVM:
		return kernel, nil
	}
	return "", fmt.Errorf("there is no kernel %q: choose host, vm or auto", kernel)
}

// hostCan tries a kind of link out.
func hostCan(ctx context.Context, kind string) bool {
	_, err := ip(ctx, "link add probe0 type "+kind+" remote 192.0.2.1 local 192.0.2.2")
	if err == nil {
		_, err = ip(ctx, "link del probe0")
	}
	return err == nil
}
