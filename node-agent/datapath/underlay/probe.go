package underlay

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Probe finds out what the kernel can do in this network namespace. Modules are loaded by the attempt if they exist, but
// for ipip: its loading puts a tunl0 into every pod, so where the module is only installed, that is enough.
func Probe(ctx context.Context) plan.Capabilities {
	return plan.Capabilities{IPIP: ipip(), VXLAN: vxlan(), NFTables: nftables(ctx)}
}

// ipip and vxlan ask for a link that the kind's own validation refuses: what comes back tells whether the kind exists,
// and nothing was made (rtnl_newlink calls ops->validate before it makes anything).
func ipip() bool {
	if _, err := netlink.LinkByName(names.IPIPDevice); err == nil {
		return true
	}
	if installed("ipip") {
		return true
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "causeway-probe"
	const noSuchProtocol = 255
	return known(netlink.LinkAdd(&netlink.Iptun{LinkAttrs: attrs, Proto: noSuchProtocol}), unix.EINVAL)
}

func vxlan() bool {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "causeway-probe"
	const tooBig = 1 << 24
	return known(netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: tooBig}), unix.ERANGE)
}

func known(err, refusal error) bool { return errors.Is(err, refusal) }

// installed says whether the running kernel's module folder has a module.
func installed(module string) bool {
	var uts unix.Utsname
	if unix.Uname(&uts) != nil {
		return false
	}
	f, err := os.Open(path.Join("/lib/modules", unix.ByteSliceToString(uts.Release[:]), "modules.dep"))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		file, _, _ := strings.Cut(lines.Text(), ":")
		if name, _, ok := strings.Cut(path.Base(file), ".ko"); ok && name == module {
			return true
		}
	}
	return false
}

// nftCheck uses all that our table needs of the kernel. It is checked by the kernel and never committed.
const nftCheck = `add table inet causeway-probe
add set inet causeway-probe s { type ipv4_addr; flags interval; }
add chain inet causeway-probe a { type filter hook prerouting priority -300; }
add rule inet causeway-probe a iifname "probe*" fib saddr . iif oif missing drop
add chain inet causeway-probe b { type nat hook postrouting priority 100; }
add rule inet causeway-probe b ip saddr @s ip daddr != @s masquerade
`

func nftables(ctx context.Context) bool {
	c := exec.CommandContext(ctx, "nft", "--check", "--file", "-")
	c.Stdin = strings.NewReader(nftCheck)
	return c.Run() == nil
}
