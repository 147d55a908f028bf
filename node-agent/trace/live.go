package trace

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/causeway-net/causeway/node-agent/trace/match"
)

const (
	// mostLive is how many live packets are kept. Of those with the same ID, one counts on each link, in each direction.
	mostLive = 1024
	// livePerSecond is how many are read in a second; the socket drops the others.
	livePerSecond = 2000
	// markedPerSecond is how many of them nftables tells about, for each kind of packet.
	markedPerSecond = 50
)

// live chooses among packets that pods send by themselves. The socket's goroutine owns begun and count; the capture's mutex guards
// the maps.
type live struct {
	pod string              // the link of the pod that sends; "" on other nodes
	own map[netip.Addr]bool // the node's addresses

	known   map[uint16]bool // the IDs that the pod has used
	have    map[sight]bool
	overrun atomic.Bool
	begun   time.Time // the second that is counted
	count   int
}

// sight is what is kept once.
type sight struct {
	flow uint16
	leg  match.Leg
	link string
	out  bool
}

func newLive(pod string, own []netip.Addr) *live {
	l := &live{pod: pod, own: map[netip.Addr]bool{}}
	for _, a := range own {
		l.own[a] = true
	}
	l.restart()
	return l
}

func (l *live) restart() { l.known, l.have = map[uint16]bool{}, map[sight]bool{} }

// wants says whether to keep a packet. One that lacks the pod's address may be another pod's: it counts if it has one of the node's
// addresses instead, and an ID that the pod itself has used, as masquerading leaves it.
func (l *live) wants(s seen, kept int) bool {
	flow := s.header.Flow
	if s.rewritten && !(l.known[flow] && (l.own[s.header.Source] || l.own[s.header.Destination])) {
		return false
	}
	this := sight{flow, s.leg, s.link, s.out}
	if l.have[this] {
		return false
	}
	if kept >= mostLive {
		l.overrun.Store(true)
		return false
	}
	l.have[this] = true
	if s.leg == match.Request && !s.out && s.link == l.pod {
		l.known[flow] = true
	}
	return true
}

// slowDown lets the second pass in which enough was read.
func (l *live) slowDown(now time.Time) {
	if now.Sub(l.begun) >= time.Second {
		l.begun, l.count = now, 0
	}
	if l.count++; l.count >= livePerSecond {
		l.overrun.Store(true)
		time.Sleep(time.Second - now.Sub(l.begun))
	}
}
