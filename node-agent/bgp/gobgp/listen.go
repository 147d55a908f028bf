package gobgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// listeners are the sockets on which peers open sessions.
type listeners struct {
	accepted func(*net.TCPConn)

	mu        sync.Mutex
	open      map[netip.AddrPort]*net.TCPListener
	wanted    []netip.AddrPort
	passwords map[netip.Addr]bgpplan.Secret
	errors    map[netip.AddrPort]string
	wait      sync.WaitGroup
}

func newListeners(accepted func(*net.TCPConn)) *listeners {
	return &listeners{
		accepted: accepted, open: map[netip.AddrPort]*net.TCPListener{}, passwords: map[netip.Addr]bgpplan.Secret{},
		errors: map[netip.AddrPort]string{},
	}
}

// apply opens and closes what differs, and sets the passwords that differ.
func (l *listeners) apply(g bgpplan.Global, passwords map[netip.Addr]bgpplan.Secret) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = l.wanted[:0]
	if g.Listen {
		for _, a := range g.ListenAddresses {
			l.wanted = append(l.wanted, netip.AddrPortFrom(a, g.ListenPort))
		}
	}
	old := l.passwords
	l.passwords = passwords
	for at, listener := range l.open {
		if !slices.Contains(l.wanted, at) {
			_ = listener.Close()
			delete(l.open, at)
			continue
		}
		for peer := range old {
			if _, kept := passwords[peer]; !kept && peer.Is4() == at.Addr().Is4() {
				l.setPassword(at, listener, peer, "")
			}
		}
		for peer, password := range passwords {
			if old[peer] != password && peer.Is4() == at.Addr().Is4() {
				l.setPassword(at, listener, peer, password)
			}
		}
	}
	l.openMissing()
}

// retry opens what could not be opened before.
func (l *listeners) retry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.openMissing()
}

func (l *listeners) setPassword(at netip.AddrPort, listener *net.TCPListener, peer netip.Addr, password bgpplan.Secret) {
	if err := control(listener, func(fd int) error { return setMD5(fd, peer, password) }); err != nil {
		l.errors[at] = fmt.Sprintf("The password of %s could not be set: %v.", peer, err)
	}
}

func (l *listeners) openMissing() {
	clear(l.errors)
	for _, at := range l.wanted {
		if l.open[at] != nil {
			continue
		}
		listener, err := listen(at)
		if err != nil {
			l.errors[at] = listenWords(at, err)
			continue
		}
		l.open[at] = listener
		for peer, password := range l.passwords {
			if peer.Is4() == at.Addr().Is4() {
				l.setPassword(at, listener, peer, password)
			}
		}
		l.wait.Add(1)
		go l.accept(listener)
	}
}

// listen opens one socket. Its TTL is 255, so that the answer to a first packet satisfies GTSM on the other side.
func listen(at netip.AddrPort) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return controlRaw(raw, func(fd int) error {
			if at.Addr().Is4() {
				return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 255)
			}
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255)
		})
	}}
	config.SetMultipathTCP(false) // MPTCP and TCP MD5 exclude each other.
	network := "tcp4"
	if at.Addr().Is6() {
		network = "tcp6"
	}
	listener, err := config.Listen(context.Background(), network, at.String())
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

func listenWords(at netip.AddrPort, err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("Another program has %s already: stop it, or set another listenPort.", at)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("This node does not have the address %s: correct listenAddresses.", at.Addr())
	}
	return fmt.Sprintf("Listening on %s failed: %v.", at, err)
}

// accept takes connections until the socket is closed.
func (l *listeners) accept(listener *net.TCPListener) {
	defer l.wait.Done()
	for {
		conn, err := listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond) // out of file descriptors: there is nothing to wait for but time
			continue
		}
		l.accepted(conn)
	}
}

// faults returns what is wrong, in words, sorted.
func (l *listeners) faults() (words []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.errors {
		words = append(words, w)
	}
	slices.Sort(words)
	return words
}

func (l *listeners) close() {
	l.apply(bgpplan.Global{}, nil)
	l.wait.Wait()
}
