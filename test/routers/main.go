// Package routers starts real routers, BIRD 2 and FRR from Debian, and connects them for tests. Everything lives in a
// mount, process and network namespace of the test's own: nothing of it is seen on the host, and it is gone with the test.
package routers

import (
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/causeway-net/causeway/test/namespaces"
)

// Main runs a package's tests inside namespaces of their own. Call it from TestMain.
func Main(m *testing.M) int { return namespaces.Main(m, prepare) }

func prepare() error {
	if err := namespaces.Prepare(); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	return os.MkdirAll("/run/frr", 0o777)
}
