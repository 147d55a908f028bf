package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/lab/vm"
)

// guest is the first process of the virtual machine: it plugs the NICs into bridges and serves commands.
func guest([]string) error {
	if os.Getpid() != 1 {
		return errors.New("this is for the lab's virtual machine only")
	}
	if err := unix.Sethostname([]byte("lab-vm")); err != nil {
		return fmt.Errorf("set the hostname: %w", err)
	}
	ctx := context.Background()
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list the NICs: %w", err)
	}
	for _, l := range links {
		if err := connect(ctx, l); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own binary: %w", err)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", vm.Port))
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	return machine.Serve(ctx, listener, machine.NewLocal(self))
}

func connect(ctx context.Context, l netlink.Link) error {
	mac := l.Attrs().HardwareAddr.String()
	last := mac[strings.LastIndex(mac, ":")+1:]
	number, err := strconv.ParseUint(last, 16, 8)
	switch {
	case l.Attrs().Name == "lo":
		return netlink.LinkSetUp(l)
	case err != nil:
		return nil // Not one of the lab's.
	case mac == vm.ControlMAC:
		address, err := netlink.ParseAddr(vm.GuestAddress)
		if err == nil {
			err = netlink.AddrAdd(l, address)
		}
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			return fmt.Errorf("set up the NIC for commands: %w", err)
		}
	case mac == vm.SubnetMAC(int(number)):
		return machine.Bridge(ctx, fmt.Sprintf("sub-%d", number), nil, []string{l.Attrs().Name})
	}
	return nil
}
