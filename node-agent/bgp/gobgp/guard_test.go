package gobgp

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// connected returns the two ends of a TCP connection.
func connected(t *testing.T) (ours, peers *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = dialed.Close(), accepted.Close() })
	return dialed, accepted
}

// A peer that has sent what we never read, and goes on writing, still reads why we end the session. With a reset in
// the way it would keep the routes of a session that was deleted.
func TestAPeerThatWritesReadsTheNotification(t *testing.T) {
	ours, peers := connected(t)
	g := newGuard(ours, bgpplan.Session{}, netip.Addr{}, func(fault) {})
	if _, err := peers.Write(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	cease := notification(6, 3)
	if _, err := g.Write(cease); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Read(make([]byte, 1)); err == nil {
		t.Error("GoBGP can still read from a connection that it has closed")
	}
	for range 20 { // the first write brings a reset, if there is one, and the next ones see it
		if _, err := peers.Write(make([]byte, 4096)); err != nil {
			t.Fatalf("the peer's write fails: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
	got, err := io.ReadAll(peers)
	if err != nil || !bytes.Equal(got, cease) {
		t.Errorf("the peer reads %x, %v; want %x and the end", got, err, cease)
	}
}
