package cluster

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Dialer makes the connections to the API server, knows where they lead, and can end them all: a connection from an
// address that the node has lost would hang until TCP gives up.
type Dialer struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	open map[*connection]netip.Addr
}

func newDialer() *Dialer {
	return &Dialer{
		dial: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 10 * time.Second}).DialContext,
		open: map[*connection]netip.Addr{},
	}
}

// connection takes itself off its dialer's list when it is closed.
type connection struct {
	net.Conn
	dialer *Dialer
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close() //nolint:wrapcheck // the caller knows the connection
}

// DialContext connects like net.Dialer.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was dialed, and callers look for its type
	}
	c := &connection{Conn: raw, dialer: d}
	var remote netip.Addr
	if at, err := netip.ParseAddrPort(raw.RemoteAddr().String()); err == nil {
		remote = at.Addr().Unmap()
	}
	d.mu.Lock()
	d.open[c] = remote
	d.mu.Unlock()
	return c, nil
}

// CloseAll ends all connections. Whoever used them connects anew.
func (d *Dialer) CloseAll() {
	d.mu.Lock()
	open := make([]*connection, 0, len(d.open))
	for c := range d.open {
		open = append(open, c)
	}
	d.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// Servers returns the addresses of the API server that connections lead to now, sorted.
func (d *Dialer) Servers() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []netip.Addr
	for _, at := range d.open {
		if at.IsValid() {
			out = append(out, at)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
