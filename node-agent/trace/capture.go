package trace

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/trace/match"
)

// mostPackets is how many packets of one probe are kept: retransmissions are not worth more.
const mostPackets = 64

// seen is one packet that passed a link.
type seen struct {
	link   string
	out    bool
	leg    match.Leg
	tunnel bool
	header match.Header
	at     time.Time
	// rewritten is a packet with one of the probe's two addresses.
	rewritten bool
}

// capture listens on all links of the node for the packets of one probe. It is a socket with a filter, so nothing of it is left when
// the process ends.
type capture struct {
	fd       int
	patterns []match.Pattern
	live     *live // nil where the probe is one that we send
	done     chan struct{}

	mu      sync.Mutex
	packets []seen
	changed chan struct{} // closed and renewed with every packet
}

func startCapture(patterns []match.Pattern, l *live) (*capture, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	c := &capture{fd: fd, patterns: patterns, live: l, done: make(chan struct{}), changed: make(chan struct{})}
	if err := c.listen(); err != nil {
		_ = unix.Close(fd) // nothing was received
		return nil, err
	}
	go c.receive()
	return c, nil
}

// listen attaches the filter before the socket hears anything.
func (c *capture) listen() error {
	program := match.BPF(c.patterns)
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(c.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter); err != nil {
		return fmt.Errorf("attach the packet filter: %w", err)
	}
	patience := unix.Timeval{Usec: 100_000} // how long stop waits
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return fmt.Errorf("set the packet socket's timeout: %w", err)
	}
	all := uint16(unix.ETH_P_ALL)
	if err := unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8}); err != nil { // in network byte order (packet(7))
		return fmt.Errorf("listen on all links: %w", err)
	}
	return nil
}

func (c *capture) receive() {
	names := map[int]string{}
	buffer := make([]byte, 512)
	for {
		n, from, err := unix.Recvfrom(c.fd, buffer, 0)
		select {
		case <-c.done:
			_ = unix.Close(c.fd) // what it had is read
			return
		default:
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if err != nil || !ok {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			time.Sleep(10 * time.Millisecond) // a link went away: packet(7), ENETDOWN
			continue
		}
		pattern, ok := match.Match(c.patterns, buffer[:n])
		if !ok || link.Pkttype == unix.PACKET_OTHERHOST { // a frame for another hardware address is none of this node's
			continue
		}
		if names[link.Ifindex] == "" {
			if i, err := net.InterfaceByIndex(link.Ifindex); err == nil {
				names[link.Ifindex] = i.Name
			}
		}
		c.add(seen{
			link: names[link.Ifindex], out: link.Pkttype == unix.PACKET_OUTGOING, leg: pattern.Leg, tunnel: pattern.Inner > 0,
			header: match.Decode(pattern, buffer[:n]), at: time.Now(), rewritten: pattern.Rewritten,
		})
		if c.live != nil {
			c.live.slowDown(time.Now())
		}
	}
}

func (c *capture) add(s seen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil && len(c.packets) < mostPackets || c.live != nil && c.live.wants(s, len(c.packets)) {
		c.packets = append(c.packets, s)
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// look returns what was seen so far, and a channel that is closed when there is more.
func (c *capture) look() ([]seen, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]seen{}, c.packets...), c.changed
}

// restart forgets what was seen.
func (c *capture) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packets = nil
	c.live.restart()
}

// overrun says whether there was more than was looked at.
func (c *capture) overrun() bool { return c.live != nil && c.live.overrun.Load() }

func (c *capture) stop() { close(c.done) }
