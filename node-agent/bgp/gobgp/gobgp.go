package gobgp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"unsafe"

	"github.com/osrg/gobgp/v3/pkg/config/oc"
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// fsm reaches into one of GoBGP's neighbours. GoBGP v3.37.0 waits 1 to 2 s before its first attempt to connect
// (connectLoop in its fsm.go; its issues 2878 and 2885), hides why an attempt failed, can't change its listeners at run
// time, and panics on malformed messages (fixed in v4 only). So the connections are ours: we dial, listen and check every
// message, and hand GoBGP a finished connection through the channel that its own listener uses. That channel is not
// exported; a test holds the pinned version to these names and types.
type fsm struct {
	connections  chan net.Conn
	lock         *sync.RWMutex
	current      *bgp.FSMState
	idleHoldTime *float64
	config       *oc.Neighbor
}

// findFSM finds the state machine of a neighbour that has just been added. The caller keeps neighbours from being added
// and deleted meanwhile.
func findFSM(s *server.BgpServer, peer netip.Addr) (f fsm, err error) {
	neighbors := reflect.ValueOf(s).Elem().FieldByName("neighborMap")
	if !neighbors.IsValid() || neighbors.Kind() != reflect.Map {
		return f, errors.New("this version of GoBGP has no neighborMap")
	}
	neighbor := neighbors.MapIndex(reflect.ValueOf(peer.String()))
	if !neighbor.IsValid() {
		return f, fmt.Errorf("GoBGP has no neighbour %s", peer)
	}
	machine := neighbor.Elem().FieldByName("fsm")
	if !machine.IsValid() {
		return f, errors.New("this version of GoBGP has no fsm in its peer")
	}
	machine = machine.Elem()
	if f.lock, err = field[sync.RWMutex](machine, "lock"); err != nil {
		return f, err
	}
	connections, err := field[chan net.Conn](machine, "connCh")
	if err != nil {
		return f, err
	}
	config, err := field[*oc.Neighbor](machine, "pConf")
	if err != nil {
		return f, err
	}
	if f.current, err = field[bgp.FSMState](machine, "state"); err != nil {
		return f, err
	}
	if f.idleHoldTime, err = field[float64](machine, "idleHoldTime"); err != nil {
		return f, err
	}
	f.connections, f.config = *connections, *config
	return f, nil
}

// field returns the address of an unexported field, if it has the type that it had in v3.37.0.
func field[T any](of reflect.Value, name string) (*T, error) {
	f := of.FieldByName(name)
	if !f.IsValid() || f.Type() != reflect.TypeFor[T]() {
		return nil, fmt.Errorf("this version of GoBGP has no fsm.%s of type %s", name, reflect.TypeFor[T]())
	}
	return (*T)(unsafe.Pointer(f.UnsafeAddr())), nil
}

// state returns the state of RFC 4271 section 8.2.2.
func (f fsm) state() bgp.FSMState {
	f.lock.RLock()
	defer f.lock.RUnlock()
	return *f.current
}

// shortenIdle makes GoBGP leave Idle after a second; it would take five after a lost session.
func (f fsm) shortenIdle() {
	f.lock.Lock()
	defer f.lock.Unlock()
	*f.idleHoldTime = min(*f.idleHoldTime, 1)
}

// adjust sets what the API can't. GoBGP must not set the TTL itself, because it insists on a bare *net.TCPConn for that,
// and a hold time of 0 means none (RFC 4271 section 4.2), not the default.
func (f fsm) adjust(holdTime, keepaliveTime float64) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.config.EbgpMultihop.Config.Enabled, f.config.EbgpMultihop.Config.MultihopTtl = true, 0
	f.config.Timers.Config.HoldTime, f.config.Timers.Config.KeepaliveInterval = holdTime, keepaliveTime
}
