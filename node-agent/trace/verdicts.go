package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	traceGroup = 9 // NFNLGRP_NFTRACE
	traceEvent = unix.NFNL_SUBSYS_NFTABLES<<8 | 17
	// Types of events and attributes (linux/netfilter/nf_tables.h, nft_trace_attributes).
	typePolicy, typeRule                                                 = 1, 3
	attrTable, attrChain, attrHandle, attrType, attrVerdict, attrID      = 1, 2, 3, 4, 5, 6
	attrPolicy, attrVerdictCode, verdictDrop, mostVerdicts, mostRuleText = 16, 1, 0, 16, 256
)

var families = map[byte]string{1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}

// verdicts listens to what nftables tells of packets with the trace mark, and keeps the drops of those that one table has marked.
type verdicts struct {
	fd    int
	table string
	done  chan struct{}

	mu   sync.Mutex
	legs map[uint32]string // of packets that our table has marked, by the kernel's number
	kept []v1alpha1.FilterVerdict
}

func watchVerdicts(table string) (*verdicts, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", err)
	}
	v := &verdicts{fd: fd, table: table, done: make(chan struct{}), legs: map[uint32]string{}}
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, traceGroup),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}))
	if err != nil {
		_ = unix.Close(fd) // nothing was received
		return nil, fmt.Errorf("listen to the verdicts of nftables: %w", err)
	}
	go v.receive()
	return v, nil
}

func (v *verdicts) stop() { close(v.done) }

func (v *verdicts) receive() {
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(v.fd, buffer, 0)
		select {
		case <-v.done:
			_ = unix.Close(v.fd) // what it had is read
			return
		default:
		}
		if err != nil {
			if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
				time.Sleep(10 * time.Millisecond) // more events than the buffer takes: netlink(7), ENOBUFS
			}
			continue
		}
		v.read(buffer[:n])
	}
}

func (v *verdicts) read(b []byte) {
	for len(b) >= unix.NLMSG_HDRLEN+4 {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN+4 || length > len(b) {
			return
		}
		if binary.NativeEndian.Uint16(b[4:]) == traceEvent {
			if attributes, err := nl.ParseRouteAttr(b[unix.NLMSG_HDRLEN+4 : length]); err == nil {
				values := map[uint16][]byte{}
				for _, a := range attributes {
					values[a.Attr.Type&nl.NLA_TYPE_MASK] = a.Value
				}
				v.note(b[unix.NLMSG_HDRLEN], values)
			}
		}
		b = b[min((length+3)&^3, len(b)):]
	}
}

// note keeps one event if it is a drop of a packet of ours.
func (v *verdicts) note(family byte, a map[uint16][]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	id := big(a[attrID])
	table, chain := word(a[attrTable]), word(a[attrChain])
	if table == v.table {
		leg, _, _ := strings.Cut(chain, "_")
		v.legs[id] = leg
		return
	}
	leg, ours := v.legs[id]
	if !ours || len(v.kept) >= mostVerdicts {
		return
	}
	var handle int64
	switch big(a[attrType]) {
	case typeRule:
		code, ok := verdictCode(a[attrVerdict])
		if !ok || code != verdictDrop || len(a[attrHandle]) != 8 {
			return
		}
		handle = int64(binary.BigEndian.Uint64(a[attrHandle]))
	case typePolicy:
		if len(a[attrPolicy]) != 4 || big(a[attrPolicy]) != verdictDrop {
			return
		}
	default:
		return
	}
	v.kept = append(v.kept, v1alpha1.FilterVerdict{Leg: leg, Family: families[family], Table: table, Chain: chain, Handle: handle})
}

// found returns the drops, with the texts of their rules where the program nft tells them.
func (v *verdicts) found(ctx context.Context) []v1alpha1.FilterVerdict {
	v.mu.Lock()
	out := append([]v1alpha1.FilterVerdict{}, v.kept...)
	v.mu.Unlock()
	for i := range out {
		out[i].Rule = ruleText(ctx, out[i])
	}
	return out
}

func ruleText(ctx context.Context, v v1alpha1.FilterVerdict) string {
	if v.Handle == 0 {
		return "policy drop"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "nft", "-a", "list", "chain", v.Family, v.Table, v.Chain)
	c.WaitDelay = 100 * time.Millisecond
	listing, err := c.Output()
	if err != nil {
		return "" // the handle is told all the same
	}
	for line := range strings.Lines(string(listing)) {
		rule, handle, ok := strings.Cut(strings.TrimSpace(line), " # handle ")
		if ok && handle == fmt.Sprint(v.Handle) {
			return rule[:min(len(rule), mostRuleText)]
		}
	}
	return ""
}

func verdictCode(nested []byte) (uint32, bool) {
	attributes, err := nl.ParseRouteAttr(nested)
	if err != nil {
		return 0, false
	}
	for _, a := range attributes {
		if a.Attr.Type&nl.NLA_TYPE_MASK == attrVerdictCode && len(a.Value) == 4 {
			return big(a.Value), true
		}
	}
	return 0, false
}

func big(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func word(b []byte) string { return strings.TrimRight(string(b), "\x00") }
