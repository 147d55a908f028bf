package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// chunk is how many requests go to the kernel in one system call; their acknowledgements must fit the receive buffer.
const chunk = 128

var order = binary.NativeEndian

// conn is a netlink socket for requests. Thousands of small requests are sent together, which saves two system calls and
// a context switch for each.
type conn struct {
	fd  int
	pid uint32
	seq uint32
	in  []byte
}

func dial() (*conn, error) {
	fd, pid, err := socket(unix.NETLINK_ROUTE, 4<<20, 0)
	if err != nil {
		return nil, err
	}
	for _, option := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK} {
		// Old kernels lack some; then answers are longer, or less is filtered in the kernel.
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		unix.Close(fd) //nolint:errcheck // the first error counts
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return &conn{fd: fd, pid: pid, in: make([]byte, 1<<16)}, nil
}

// socket opens a bound netlink socket and returns its port id.
func socket(protocol, buffer, flags int) (int, uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|flags, protocol)
	if err != nil {
		return 0, 0, fmt.Errorf("open netlink: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		var name unix.Sockaddr
		if name, err = unix.Getsockname(fd); err == nil {
			return fd, name.(*unix.SockaddrNetlink).Pid, nil
		}
	}
	unix.Close(fd) //nolint:errcheck // the first error counts
	return 0, 0, fmt.Errorf("bind netlink: %w", err)
}

func (c *conn) Close() error { return unix.Close(c.fd) }

// do sends a batch and returns one error, or nil, for each of its messages.
func (c *conn) do(b *batch) []error {
	errs := make([]error, len(b.starts))
	for from := 0; from < len(b.starts); from += chunk {
		to := min(from+chunk, len(b.starts))
		if err := c.exchange(b, from, to, errs); err != nil {
			for i := from; i < len(errs); i++ {
				errs[i] = err
			}
			break
		}
	}
	return errs
}

func (c *conn) exchange(b *batch, from, to int, errs []error) error {
	first := c.seq + 1
	for i := from; i < to; i++ {
		c.seq++
		order.PutUint32(b.buf[b.starts[i]+8:], c.seq)
	}
	end := len(b.buf)
	if to < len(b.starts) {
		end = b.starts[to]
	}
	if err := unix.Sendto(c.fd, b.buf[b.starts[from]:end], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	for left := to - from; left > 0; {
		err := c.receive(func(h header, body []byte) error {
			if i := int(h.seq - first); h.kind == unix.NLMSG_ERROR && h.seq-first < uint32(to-from) {
				errs[from+i] = ackError(h, body)
				left--
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ackError reads an acknowledgement, with the kernel's own words where it has some (NLMSGERR_ATTR_MSG).
func ackError(h header, body []byte) error {
	if len(body) < 4 {
		return errors.New("netlink: short acknowledgement")
	}
	code := -int32(order.Uint32(body))
	if code == 0 {
		return nil
	}
	const ackTLVs, capped, attrMessage = 0x200, 4 + unix.NLMSG_HDRLEN, 1
	var err error = unix.Errno(code)
	if h.flags&ackTLVs != 0 && len(body) > capped {
		for kind, value := range attributes(body[capped:]) {
			if kind == attrMessage && len(value) > 1 {
				err = fmt.Errorf("%w (%s)", err, value[:len(value)-1])
			}
		}
	}
	return err
}

// dump asks for all objects of a kind, and calls f for each.
func (c *conn) dump(kind uint16, payload []byte, f func(body []byte)) error {
	var b batch
	b.begin(kind, unix.NLM_F_DUMP)
	b.buf = append(b.buf, payload...)
	b.end()
	c.seq++
	order.PutUint32(b.buf[8:], c.seq)
	if err := unix.Sendto(c.fd, b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	interrupted := false
	for done := false; !done; {
		err := c.receive(func(h header, body []byte) error {
			if h.seq != c.seq {
				return nil
			}
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch h.kind {
			case unix.NLMSG_DONE:
				done = true
			case unix.NLMSG_ERROR:
				done = true
				return ackError(h, body)
			default:
				f(body)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if interrupted {
		return netlink.ErrDumpInterrupted
	}
	return nil
}

func (c *conn) receive(f func(header, []byte) error) error {
	n, _, err := unix.Recvfrom(c.fd, c.in, 0)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	return messages(c.in[:n], f)
}

// header is a nlmsghdr without its length.
type header struct {
	kind, flags uint16
	seq, pid    uint32
}

func messages(data []byte, f func(header, []byte) error) error {
	for len(data) >= unix.NLMSG_HDRLEN {
		size := int(order.Uint32(data))
		if size < unix.NLMSG_HDRLEN || size > len(data) {
			return errors.New("netlink: malformed message")
		}
		h := header{order.Uint16(data[4:]), order.Uint16(data[6:]), order.Uint32(data[8:]), order.Uint32(data[12:])}
		if err := f(h, data[unix.NLMSG_HDRLEN:size]); err != nil {
			return err
		}
		data = data[min(align(size), len(data)):]
	}
	return nil
}

func align(n int) int { return (n + 3) &^ 3 }
