package veth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var order = binary.NativeEndian

// conn is a netlink socket in one network namespace. Requests that belong together are sent together: that saves two
// system calls and a change of threads for each.
type conn struct {
	fd int
	in []byte
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	// Old kernels lack these; then answers are longer.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
		unix.Close(fd) //nolint:errcheck // the first error counts
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return &conn{fd: fd, in: make([]byte, 1<<15)}, nil
}

func (c *conn) close() { unix.Close(c.fd) } //nolint:errcheck // nothing to lose

// batch is a row of requests, in the order in which the kernel handles them. The kernel answers those that fail, and the last.
type batch struct {
	buf   []byte
	count int
	last  int // where the last request begins
}

// add appends a request; its number in the batch is its sequence number.
func (b *batch) add(kind, flags int, data ...nl.NetlinkRequestData) {
	b.count++
	b.last = len(b.buf)
	r := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{
		Len: unix.SizeofNlMsghdr, Type: uint16(kind), Flags: uint16(unix.NLM_F_REQUEST | flags), Seq: uint32(b.count),
	}}
	r.Data = data
	b.buf = append(b.buf, r.Serialize()...)
}

// sealed returns the batch as it is sent.
func (b *batch) sealed() []byte {
	flags := b.buf[b.last+6:]
	order.PutUint16(flags, order.Uint16(flags)|unix.NLM_F_ACK)
	return b.buf
}

// do sends a batch and returns one error, or nil, for each request. answer, if any, gets what the kernel returns.
func (c *conn) do(b *batch, answer func(body []byte)) ([]error, error) {
	errs := make([]error, b.count)
	if b.count == 0 {
		return errs, nil
	}
	if err := unix.Sendto(c.fd, b.sealed(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("send to netlink", err)
	}
	for done := false; !done; {
		if err := c.receive(func(seq uint32, kind, _ uint16, body []byte) error {
			switch {
			case seq == 0 || int(seq) > b.count:
			case kind == unix.NLMSG_ERROR && len(body) >= 4:
				if code := -int32(order.Uint32(body)); code != 0 {
					errs[seq-1] = unix.Errno(code)
				}
				done = done || int(seq) == b.count
			case answer != nil:
				answer(body)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return errs, nil
}

// dump asks for all objects of a kind. It returns netlink.ErrDumpInterrupted where a change came between.
func (c *conn) dump(kind int, f func(body []byte), data ...nl.NetlinkRequestData) error {
	r := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: uint16(kind), Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP, Seq: 1}}
	r.Data = data
	if err := unix.Sendto(c.fd, r.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("send to netlink", err)
	}
	interrupted := false
	for done := false; !done; {
		if err := c.receive(func(_ uint32, kind, flags uint16, body []byte) error {
			interrupted = interrupted || flags&unix.NLM_F_DUMP_INTR != 0
			switch kind {
			case unix.NLMSG_DONE:
				done = true
			case unix.NLMSG_ERROR:
				done = true
				if len(body) >= 4 && order.Uint32(body) != 0 {
					return unix.Errno(-int32(order.Uint32(body)))
				}
			default:
				f(body)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if interrupted {
		return netlink.ErrDumpInterrupted
	}
	return nil
}

func (c *conn) receive(f func(seq uint32, kind, flags uint16, body []byte) error) error {
	n, _, err := unix.Recvfrom(c.fd, c.in, 0)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("receive from netlink", err)
	}
	for data := c.in[:n]; len(data) >= unix.NLMSG_HDRLEN; {
		size := int(order.Uint32(data))
		if size < unix.NLMSG_HDRLEN || size > len(data) {
			return errors.New("netlink: malformed message")
		}
		if err := f(order.Uint32(data[8:]), order.Uint16(data[4:]), order.Uint16(data[6:]), data[unix.NLMSG_HDRLEN:size]); err != nil {
			return err
		}
		data = data[min((size+3)&^3, len(data)):]
	}
	return nil
}

// hostLink is what is read of a link.
type hostLink struct {
	name, alias, kind string
	index, peer, mtu  int
	group             uint32
	up                bool
}

// parseLink reads an ifinfomsg with its attributes.
func parseLink(body []byte) (hostLink, bool) {
	if len(body) < unix.SizeofIfInfomsg {
		return hostLink{}, false
	}
	l := hostLink{index: int(int32(order.Uint32(body[4:]))), up: order.Uint32(body[8:])&unix.IFF_UP != 0}
	attrs, err := nl.ParseRouteAttr(body[unix.SizeofIfInfomsg:])
	if err != nil {
		return hostLink{}, false
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			l.name = text(a.Value)
		case unix.IFLA_IFALIAS:
			l.alias = text(a.Value)
		case unix.IFLA_LINK:
			l.peer = int(int32(order.Uint32(a.Value)))
		case unix.IFLA_MTU:
			l.mtu = int(order.Uint32(a.Value))
		case unix.IFLA_GROUP:
			l.group = order.Uint32(a.Value)
		case unix.IFLA_LINKINFO:
			info, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return hostLink{}, false
			}
			for _, i := range info {
				if i.Attr.Type == nl.IFLA_INFO_KIND {
					l.kind = text(i.Value)
				}
			}
		}
	}
	return l, true
}

func text(value []byte) string {
	for i, b := range value {
		if b == 0 {
			return string(value[:i])
		}
	}
	return string(value)
}
