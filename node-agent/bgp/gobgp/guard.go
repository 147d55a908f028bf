package gobgp

import (
	"encoding/binary"
	"io"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

const (
	// openTimeout is how long a connected peer may take to say OPEN and KEEPALIVE. GoBGP would wait four minutes.
	openTimeout = 10 * time.Second
	// farewell is how long a connection stays open for the peer to read our NOTIFICATION.
	farewell = 5 * time.Second
)

// guard is the connection that GoBGP gets. It passes on only what GoBGP can digest, ends the session over the rest, and
// notes in passing what the status needs: errors in words and how many prefixes have gone out.
type guard struct {
	*net.TCPConn
	session bgpplan.Session
	// routerID is the node's own.
	routerID netip.Addr
	// failed takes what went wrong.
	failed func(fault)

	pending []byte // checked, not yet read by GoBGP
	stage   int    // 0: OPEN expected, 1: KEEPALIVE expected, 2: established
	check   sanitizer
	peer    atomic.Pointer[open]

	// muted: nothing more is written. ended: the reason is known, so the end of the connection is not news.
	muted, ended atomic.Bool
	// told: a NOTIFICATION of ours is the last that was written.
	told atomic.Bool

	out  sync.Mutex
	rest []byte // the beginning of a message that GoBGP has not written to its end
	sent map[netip.Prefix]struct{}
}

func newGuard(conn *net.TCPConn, s bgpplan.Session, routerID netip.Addr, failed func(fault)) *guard {
	_ = conn.SetReadDeadline(time.Now().Add(openTimeout))
	return &guard{TCPConn: conn, session: s, routerID: routerID, failed: failed, sent: map[netip.Prefix]struct{}{}}
}

// quiet ends the connection without a NOTIFICATION, so that the peer keeps the routes (RFC 4724 section 4.2).
func (g *guard) quiet() {
	g.muted.Store(true)
	_ = g.TCPConn.Close()
}

// Read gives GoBGP the next bytes of a checked message.
func (g *guard) Read(b []byte) (int, error) {
	for len(g.pending) == 0 {
		m, err := g.next()
		if err != nil {
			return 0, err
		}
		g.pending = m
	}
	n := copy(b, g.pending)
	g.pending = g.pending[n:]
	return n, nil
}

// next reads one message. It returns nothing where the message is of no use to GoBGP.
func (g *guard) next() ([]byte, error) {
	var h [headerLength]byte
	if _, err := io.ReadFull(g.TCPConn, h[:]); err != nil {
		return nil, g.lost(err)
	}
	kind, length, ok := headerFault(h[:])
	if !ok {
		return nil, g.end(1, 0, "The peer sent something that is not BGP.")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(g.TCPConn, body); err != nil {
		return nil, g.lost(err)
	}
	if kind == typeNotification {
		code, sub, data := splitNotification(body)
		g.failed(fault{notificationWords(g.session, code, sub, data, true), conclusive(code, sub)})
		g.ended.Store(true)
		return message(kind, body), nil
	}
	switch {
	case g.stage == 0 && kind == typeOpen:
		return g.open(body)
	case g.stage == 1 && kind == typeKeepalive:
		g.stage = 2
		_ = g.TCPConn.SetReadDeadline(time.Time{})
		return message(kind, nil), nil
	case g.stage == 2 && kind == typeKeepalive:
		return message(kind, nil), nil
	case g.stage == 2 && kind == typeUpdate:
		return g.update(body)
	case g.stage == 2 && kind == typeRouteRefresh:
		afi := binary.BigEndian.Uint16(body)
		if body[3] != 1 || !(afi == 1 && g.check.ipv4 || afi == 2 && g.check.ipv6) {
			return nil, nil // RFC 2918 section 4: not advertised, so ignored.
		}
		return message(kind, []byte{body[0], body[1], 0, 1}), nil
	}
	return nil, g.end(5, 0, "The peer sent a message that does not belong into that state.")
}

func (g *guard) open(body []byte) ([]byte, error) {
	o, err := decodeOpen(body)
	if err != nil {
		return nil, g.end(2, 0, "The peer's OPEN message is malformed.")
	}
	if o.as != g.session.PeerAS {
		return nil, g.end(2, 2, asWords(g.session.PeerAS, o.as))
	}
	g.stage = 1
	g.check = sanitizer{
		external: g.session.External(), fourOctetAS: o.fourOctetAS,
		ipv4: o.ipv4 && g.session.IPv4, ipv6: o.ipv6 && g.session.IPv6,
		own: g.session.LocalAS, allowOwn: int(g.session.AllowOwnAS), routerID: g.routerID,
	}
	if !g.check.ipv4 && !g.check.ipv6 {
		return nil, g.end(2, 7, "The peer carries neither of the address families that this session has.")
	}
	g.peer.Store(&o)
	return message(typeOpen, cleanOpen(body)), nil
}

func (g *guard) update(body []byte) ([]byte, error) {
	cleaned, complaint, malformed := g.check.clean(body)
	if malformed != nil {
		return nil, g.end(3, malformed.subcode, "The peer sent a malformed UPDATE: "+malformed.words+".")
	}
	if complaint != "" {
		g.failed(fault{words: "The peer sent an UPDATE that counts as a withdrawal (RFC 7606): " + complaint + "."})
	}
	if cleaned == nil {
		return message(typeKeepalive, nil), nil // It did show that the peer lives.
	}
	if headerLength+len(cleaned) > maxLength {
		return nil, g.end(3, 1, "The peer sent a malformed UPDATE that is too long to turn into a withdrawal.")
	}
	return message(typeUpdate, cleaned), nil
}

// end says why in a NOTIFICATION and closes the connection.
func (g *guard) end(code, sub byte, words string) error {
	g.failed(fault{words, true})
	_ = g.TCPConn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = g.TCPConn.Write(notification(code, sub))
	g.told.Store(true)
	g.muted.Store(true)
	_ = g.Close()
	return io.EOF
}

// Close ends the connection. Where a NOTIFICATION was its last word, the peer gets the time to read it. The kernel answers
// data that nobody reads any more with a reset, and a peer that writes at that moment sees the reset first: it would take
// a session that was deleted for one that restarts, and keep its routes for minutes (RFC 4724 section 4.2).
func (g *guard) Close() error {
	if g.told.Swap(false) {
		if err := g.linger(); err == nil {
			return nil
		}
	}
	return g.TCPConn.Close()
}

// linger closes the connection for GoBGP and our side of it for the peer, and reads what still comes until the peer closes.
func (g *guard) linger() error {
	file, err := g.File() // a copy of the descriptor keeps the kernel's socket open
	if err != nil {
		return err
	}
	defer file.Close()
	rest, err := net.FileConn(file)
	if err != nil {
		return err
	}
	_ = g.CloseWrite()
	go func() {
		defer rest.Close()
		_ = rest.SetReadDeadline(time.Now().Add(farewell))
		_, _ = io.Copy(io.Discard, rest)
	}()
	return g.TCPConn.Close()
}

func (g *guard) lost(err error) error {
	switch {
	case g.muted.Load() || g.ended.Load():
	case g.stage < 2:
		g.failed(fault{words: "The peer closed the connection before the session was up: check that it has this session configured."})
	default:
		g.failed(fault{words: "The connection to the peer was lost."})
	}
	return err
}

// Write passes on what GoBGP says and reads along.
func (g *guard) Write(b []byte) (int, error) {
	if g.muted.Load() {
		return len(b), nil
	}
	told := g.follow(b)
	n, err := g.TCPConn.Write(b)
	if told && err == nil {
		g.told.Store(true)
	}
	return n, err
}

// follow splits what GoBGP writes into messages, and says whether a NOTIFICATION is among them.
func (g *guard) follow(b []byte) (told bool) {
	g.out.Lock()
	defer g.out.Unlock()
	g.rest = append(g.rest, b...)
	for len(g.rest) >= headerLength {
		n := int(binary.BigEndian.Uint16(g.rest[16:]))
		if n < headerLength || len(g.rest) < n {
			return told
		}
		body := g.rest[headerLength:n]
		switch g.rest[18] {
		case typeNotification:
			code, sub, data := splitNotification(body)
			g.failed(fault{notificationWords(g.session, code, sub, data, false), conclusive(code, sub)})
			g.ended.Store(true)
			told = true
		case typeUpdate:
			g.count(body)
		}
		g.rest = g.rest[n:]
	}
	if len(g.rest) == 0 {
		g.rest = nil
	}
	return told
}

// count notes the prefixes of an UPDATE that we sent.
func (g *guard) count(body []byte) {
	u, err := splitUpdate(body)
	if err != nil {
		return
	}
	add := func(p netip.Prefix) { g.sent[p] = struct{}{} }
	remove := func(p netip.Prefix) { delete(g.sent, p) }
	_ = eachPrefix(u.withdrawn, false, remove)
	_ = eachPrefix(u.nlri, false, add)
	for rest := u.attributes; len(rest) > 0; {
		var a attribute
		if a, rest, err = nextAttribute(rest); err != nil {
			return
		}
		switch a.code {
		case attrMPReach:
			if r, err := decodeReach(a.value); err == nil && r.unicast() {
				_ = eachPrefix(r.nlri, r.v6(), add)
			}
		case attrMPUnreach:
			if r, err := decodeUnreach(a.value); err == nil && r.unicast() {
				_ = eachPrefix(r.nlri, r.v6(), remove)
			}
		}
	}
}

// advertised returns how many prefixes the peer has from us.
func (g *guard) advertised() int {
	g.out.Lock()
	defer g.out.Unlock()
	return len(g.sent)
}

// announced returns what the peer has from us.
func (g *guard) announced() map[netip.Prefix]struct{} {
	g.out.Lock()
	defer g.out.Unlock()
	return maps.Clone(g.sent)
}

// withdraw withdraws prefixes behind GoBGP's back.
func (g *guard) withdraw(prefixes map[netip.Prefix]struct{}) {
	for p := range prefixes {
		if _, err := g.Write(withdrawal(p)); err != nil {
			return // The session ends, and the peer forgets them anyway.
		}
	}
}
