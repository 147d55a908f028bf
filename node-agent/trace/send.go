package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/trace/match"
)

// payload makes the packet recognizable for people too.
const payload = "causeway path trace "

// sender is a socket in a pod's network namespace, bound to the pod's address: what it sends leaves the pod as the pod's own packets do.
type sender struct {
	fd    int
	probe match.Probe
	size  int // of the IP packet; 0 for a small one
}

// openSender opens the socket inside the namespace. The thread goes back to the node's at once; the socket stays where it is.
func openSender(namespace string, probe match.Probe, size int) (*sender, error) {
	runtime.LockOSThread()
	host, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("find the node's network namespace: %w", err)
	}
	defer host.Close() //nolint:errcheck // only read
	pod, err := netns.GetFromPath(namespace)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("open the pod's network namespace %s: %w", namespace, err)
	}
	defer pod.Close() //nolint:errcheck // only read
	if err := netns.Set(pod); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("enter the pod's network namespace: %w", err)
	}
	s := &sender{fd: -1, probe: probe, size: size}
	err = s.open()
	if back := netns.Set(host); back != nil {
		return nil, errors.Join(err, fmt.Errorf("leave the pod's network namespace: %w", back)) // the thread stays locked, and ends
	}
	runtime.UnlockOSThread()
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *sender) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd) // an unfinished connection is given up with it
	}
}

func (s *sender) open() (err error) {
	domain, icmp := unix.AF_INET, unix.IPPROTO_ICMP
	if s.probe.Source.Is6() {
		domain, icmp = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	port := s.probe.ID
	switch s.probe.Protocol {
	case match.ICMP:
		s.fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, icmp)
		port = 0
	case match.TCP:
		s.fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	case match.UDP:
		s.fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return fmt.Errorf("open a socket in the pod: %w", err)
	}
	if err := s.configure(); err != nil {
		return fmt.Errorf("configure the pod's socket: %w", err)
	}
	if err := unix.Bind(s.fd, socketAddress(s.probe.Source, port)); err != nil {
		return fmt.Errorf("take %s, port %d in the pod: %w", s.probe.Source, port, err)
	}
	return nil
}

func (s *sender) configure() error {
	if s.probe.Protocol == match.TCP {
		return unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if s.size == 0 {
		return nil
	}
	// "Don't fragment", whatever the pod knows of MTUs: the packet itself shall find the link that is too small.
	if s.probe.Source.Is6() {
		return errors.Join(unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
			unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
	}
	return unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
}

// send sends the packet once, or starts the connection.
func (s *sender) send(sequence uint16) error {
	to := socketAddress(s.probe.Destination, s.probe.Port)
	if s.probe.Protocol == match.TCP {
		if err := unix.Connect(s.fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EALREADY) && !errors.Is(err, unix.EISCONN) {
			return fmt.Errorf("connect to %s: %w", netip.AddrPortFrom(s.probe.Destination, s.probe.Port), err)
		}
		return nil
	}
	if s.probe.Protocol == match.ICMP {
		to = socketAddress(s.probe.Destination, 0)
	}
	if err := unix.Sendto(s.fd, s.message(sequence), unix.MSG_DONTWAIT, to); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("send to %s: %w", s.probe.Destination, err)
	}
	return nil
}

// message is what follows the IP header, but for UDP's own header.
func (s *sender) message(sequence uint16) []byte {
	ip, header := 20, 8
	if s.probe.Source.Is6() {
		ip = 40
	}
	body := []byte(payload)
	for len(body) < max(56, s.size-ip-header) {
		body = append(body, 0)
	}
	if s.probe.Protocol == match.UDP {
		return body
	}
	kind := byte(8)
	if s.probe.Source.Is6() {
		kind = 128
	}
	out := append([]byte{kind, 0, 0, 0}, binary.BigEndian.AppendUint16(nil, s.probe.ID)...)
	out = append(binary.BigEndian.AppendUint16(out, sequence), body...)
	if s.probe.Source.Is4() { // the kernel makes that of ICMPv6
		binary.BigEndian.PutUint16(out[2:], checksum(out))
	}
	return out
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func socketAddress(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is6() {
		return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
	}
	return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
}

const (
	// answerWithin is how long an answer is waited for. The packet is sent again in the middle of that.
	answerWithin = 2400 * time.Millisecond
	again        = 1200 * time.Millisecond
	// followWithin is how long the pod has to send something by itself.
	followWithin = 10 * time.Second
	// trailing is how long what follows an answer is waited for.
	trailing = 60 * time.Millisecond
)
