package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long one try may take. There are several, with pauses: a single packet may get lost anywhere, and a Service
	// that was made a moment ago may not be known on every node.
	patience = 2 * time.Second
	tries    = 4
	pause    = time.Second
	// atOnce is how many questions are asked at a time.
	atOnce = 16
	// headers are those of IP and UDP (RFC 791, 8200, 768).
	headersV4, headersV6 = 28, 48
	longestName          = 256
)

// Ask asks all questions and returns the answers in their order.
func Ask(ctx context.Context, questions []Question) []Answer {
	answers := make([]Answer, len(questions))
	slots := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i, q := range questions {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i] = Answer{ID: q.ID}
			var err error
			for try := range tries {
				if try > 0 {
					time.Sleep(pause)
				}
				if err = ask(ctx, q); err == nil {
					return
				}
			}
			answers[i].Problem = err.Error()
		})
	}
	group.Wait()
	return answers
}

func ask(ctx context.Context, q Question) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch q.Kind {
	case Connect:
		return connect(ctx, q)
	case FullPacket:
		return fullPacket(ctx, q)
	}
	return fmt.Errorf("this version can't ask by %q", q.Kind)
}

func connect(ctx context.Context, q Question) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", q.Target)
	if err != nil {
		return err
	}
	defer conn.Close()
	if len(q.Names) == 0 {
		return nil
	}
	deadline, _ := ctx.Deadline() // ask has set one.
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	name, err := io.ReadAll(io.LimitReader(conn, longestName))
	if err != nil {
		return fmt.Errorf("the connection is open, but the server says nothing: %w", err)
	}
	if got := strings.TrimSpace(string(name)); !slices.Contains(q.Names, got) {
		return fmt.Errorf("somebody else answers: %q", got)
	}
	return nil
}

func fullPacket(ctx context.Context, q Question) error {
	conn, err := (&net.Dialer{Control: unbroken}).DialContext(ctx, "udp", q.Target)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline() // ask has set one.
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	mtu, headers, err := mtuOf(conn.LocalAddr())
	if err != nil {
		return err
	}
	packet, back := make([]byte, mtu-headers), make([]byte, mtu)
	_, _ = rand.Read(packet) // It never fails (crypto/rand).
	if _, err := conn.Write(packet); errors.Is(err, syscall.EMSGSIZE) {
		return fmt.Errorf("a packet of %d bytes, the MTU of the pod's interface, is too large for the path", mtu)
	} else if err != nil {
		return err
	}
	n, err := conn.Read(back)
	if errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return fmt.Errorf("no answer to a packet of %d bytes, the MTU of the pod's interface", mtu)
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(back[:n], packet) {
		return errors.New("another packet came back")
	}
	return nil
}

func isTimeout(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}

// unbroken makes a socket send packets in one piece or not at all (ip(7), IP_MTU_DISCOVER).
func unbroken(_, _ string, raw syscall.RawConn) error {
	var err error
	control := raw.Control(func(fd uintptr) {
		four := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		six := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
		if four != nil && six != nil {
			err = four // A socket of one family has the option of that family.
		}
	})
	return errors.Join(control, err)
}

// mtuOf is the MTU of the interface that has an address, and the length of the headers of a UDP packet from there.
func mtuOf(local net.Addr) (mtu, headers int, err error) {
	at, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return 0, 0, fmt.Errorf("the local address %s: %w", local, err)
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return 0, 0, fmt.Errorf("list the pod's interfaces: %w", err)
	}
	headers = headersV4
	if at.Addr().Is6() && !at.Addr().Is4In6() {
		headers = headersV6
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			return 0, 0, fmt.Errorf("list the addresses of %s: %w", i.Name, err)
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == at.Addr().Unmap() {
				return i.MTU, headers, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("no interface has the address %s", at.Addr())
}
