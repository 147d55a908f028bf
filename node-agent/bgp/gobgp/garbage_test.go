package gobgp_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/gobgp"
	"github.com/causeway-net/causeway/test/routers"
)

// dialFrom connects from a host's network namespace.
func dialFrom(h *routers.Host, from, to string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() { // This goroutine's thread ends with it, for it is never unlocked.
		defer close(done)
		runtime.LockOSThread()
		var ns *os.File
		if ns, err = os.Open("/run/netns/" + h.Name); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		// A dialer's own goroutines would be elsewhere: with an IP address there are none.
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: time.Second, FallbackDelay: -1}
		conn, err = d.Dial("tcp4", to)
	}()
	<-done
	return conn, err
}

// attacker is a peer whose session comes up and who then sends garbage.
type attacker struct {
	h       *routers.Host
	address string
	bodies  [][]byte
	random  *rand.Rand
}

// session sends messages until the speaker has had enough, and counts them.
func (a *attacker) session(sent *atomic.Int64, limit int64) {
	conn, err := dialFrom(a.h, a.address, "10.0.0.2:179")
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	open, _ := packet.NewBGPOpenMessage(65001, 90, a.address, []packet.OptionParameterInterface{packet.NewOptionParameterCapability(
		[]packet.ParameterCapabilityInterface{packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapMultiProtocol(packet.RF_IPv6_UC), packet.NewCapFourOctetASNumber(65001)})}).Serialize()
	if a.random.IntN(8) == 0 {
		copy(open[19:], gobgp.Mutate(a.random, open[19:]))
	}
	if _, err := conn.Write(append(open, gobgp.Message(4, nil)...)); err != nil {
		return
	}
	sent.Add(2)
	if _, err := io.ReadFull(conn, make([]byte, 19)); err != nil {
		return // not ready for us, or no longer
	}
	ended := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, conn); close(ended) }()
	for sent.Load() < limit {
		select {
		case <-ended:
			return
		default:
		}
		var burst []byte
		for range 50 {
			burst = append(burst, a.message()...)
		}
		if _, err := conn.Write(burst); err != nil {
			return
		}
		sent.Add(50)
		for queued(conn) > 20000 { // What waits when the session ends was not looked at: keep it little.
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// queued returns how many bytes the other side's kernel has not taken yet (tcp(7), SIOCOUTQ).
func queued(conn net.Conn) (n int) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}

func (a *attacker) message() []byte {
	body := gobgp.Mutate(a.random, a.bodies[a.random.IntN(len(a.bodies))])
	if n := int(binary.BigEndian.Uint16(a.bodies[0][2:])); a.random.IntN(4000) > 0 {
		// Mutate inside the attributes only: these leave the session up, so that what follows is read, too.
		body = append([]byte(nil), a.bodies[0]...)
		for range 1 + a.random.IntN(3) {
			body[4+a.random.IntN(n)] = byte(a.random.Uint32())
		}
	}
	m := gobgp.Message(2, body)
	if a.random.IntN(8000) == 0 {
		m = gobgp.Mutate(a.random, m)
	}
	return m
}

// TestGarbage throws 50,000 random and mutated messages at the session port, from peers that are configured, while
// another session must not notice.
func TestGarbage(t *testing.T) {
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", birdPeer(""))
	sessions := []bgpplan.Session{to(65001, "10.0.0.2", "10.0.0.1")}
	evil := routers.NewHost(t, "evil")
	routers.Connect(t, n.host, "10.6.6.1/24", evil, "10.6.6.2/24")
	evil.IP("route", "add", "10.0.0.2/32", "via", "10.6.6.1")
	var attackers []*attacker
	for i := range 16 {
		address := fmt.Sprintf("10.6.6.%d", 10+i)
		evil.IP("addr", "add", address+"/24", "dev", "lo")
		s := to(65001, "10.0.0.2", address)
		s.IPv6, s.Multihop, s.RestartTime = true, 5, 0
		sessions = append(sessions, s)
		attackers = append(attackers, &attacker{h: evil, address: address, bodies: gobgp.Updates(t), random: rand.New(rand.NewPCG(7, uint64(i)))})
	}
	n.apply(plan(64512, "10.0.0.2", sessions, "10.211.0.0/26"))
	n.waitEstablished(10*time.Second, "10.0.0.1")
	n.waitRoute(5*time.Second, "192.0.2.0/24", "10.0.0.1")
	since, pid := n.sessionTo("10.0.0.1").Since, n.PID()

	const limit = 50000
	var sent atomic.Int64
	var wait sync.WaitGroup
	deadline := time.Now().Add(60 * time.Second)
	for _, a := range attackers {
		wait.Go(func() {
			for sent.Load() < limit && time.Now().Before(deadline) {
				a.session(&sent, limit)
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	start := time.Now()
	wait.Wait()
	t.Logf("%d messages in %s", sent.Load(), time.Since(start).Round(time.Millisecond))
	if sent.Load() < limit {
		t.Errorf("only %d messages were taken", sent.Load())
	}
	if n.PID() != pid {
		t.Fatal("the speaker crashed")
	}
	n.waitRoute(time.Second, "198.51.100.0/24", "10.0.0.1")
	if s := n.sessionTo("10.0.0.1"); s.Since != since || !s.Established() {
		t.Errorf("another session was disturbed: %+v", s)
	}
	if b.Route("10.211.0.0/26") == "" {
		t.Error("another peer lost its route")
	}
}
