package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// watchRoutes follows the node's routes below a prefix ("10.0.0.0/8=1000") and prints the time, in nanoseconds, at which
// the kernel had that many. The first line says that it listens.
func watchRoutes(want string) error {
	text, number, _ := strings.Cut(want, "=")
	within, err := netip.ParsePrefix(text)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	updates, done := make(chan netlink.RouteUpdate, 4096), make(chan struct{})
	defer close(done)
	failed := make(chan error, 1)
	if err := netlink.RouteSubscribeWithOptions(updates, done, netlink.RouteSubscribeOptions{
		ReceiveBufferSize: 16 << 20, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) { failed <- err },
	}); err != nil {
		return fmt.Errorf("watch the routes: %w", err)
	}
	fmt.Println("listening")
	have := map[netip.Prefix]bool{}
	limit := time.After(2 * time.Minute)
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("watch the routes: %w", err)
		case <-limit:
			return fmt.Errorf("%d of %d routes are there after 2 minutes", len(have), count)
		case u := <-updates:
			if u.Dst == nil || u.Protocol != names.RouteProtocol {
				continue
			}
			a, _ := netip.AddrFromSlice(u.Dst.IP)
			bits, _ := u.Dst.Mask.Size()
			p := netip.PrefixFrom(a.Unmap(), bits)
			if !within.Overlaps(p) {
				continue
			}
			if u.Type == unix.RTM_NEWROUTE {
				have[p] = true
			} else {
				delete(have, p)
			}
			if len(have) == count {
				fmt.Println(time.Now().UnixNano())
				return nil
			}
		}
	}
}
