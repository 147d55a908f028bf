package gobgp

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// setMD5 sets the TCP MD5 key (RFC 2385) of a socket for one peer. An empty password takes it away.
func setMD5(fd int, peer netip.Addr, password bgpplan.Secret) error {
	sig := unix.TCPMD5Sig{Keylen: uint16(len(password))}
	if peer.Is4() {
		sig.Addr.Family = unix.AF_INET
		copy(sig.Addr.Data[2:], peer.AsSlice())
	} else {
		sig.Addr.Family = unix.AF_INET6
		copy(sig.Addr.Data[6:], peer.AsSlice())
	}
	copy(sig.Key[:], password)
	err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
	if password == "" && err == unix.ENOENT {
		return nil // There was none.
	}
	return os.NewSyscallError("setsockopt TCP_MD5SIG", err)
}

// setTTL sets the TTL of a session's packets, and the least one that arriving packets must have (RFC 5082).
func setTTL(fd int, s bgpplan.Session) error {
	ttl, least := 0, 0
	switch {
	case s.TTLSecurity > 0:
		ttl, least = 255, 256-int(s.TTLSecurity)
	case s.External() && s.Multihop > 0:
		ttl = int(s.Multihop)
	case s.External():
		ttl = 1
	}
	level, ttlName, leastName := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL
	if s.Peer.Is6() {
		level, ttlName, leastName = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT
	}
	if ttl == 0 {
		ttl = -1 // the system's default
		if level == unix.IPPROTO_IP {
			ttl = 64
		}
	}
	if err := unix.SetsockoptInt(fd, level, ttlName, ttl); err != nil {
		return os.NewSyscallError("setsockopt TTL", err)
	}
	return os.NewSyscallError("setsockopt minimal TTL", unix.SetsockoptInt(fd, level, leastName, least))
}

// control runs f on a socket's file descriptor.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return controlRaw(raw, f)
}

func controlRaw(raw syscall.RawConn, f func(fd int) error) (err error) {
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// md5Drops returns how many TCP segments this network namespace has dropped for a missing, unexpected or wrong MD5
// signature (TCPMD5NotFound, TCPMD5Unexpected, TCPMD5Failure of /proc/net/netstat).
func md5Drops() (drops uint64) {
	data, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		return 0
	}
	var names []string
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || fields[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if i < len(fields) && strings.HasPrefix(name, "TCPMD5") {
				var n uint64
				if _, err := fmt.Sscan(fields[i], &n); err == nil {
					drops += n
				}
			}
		}
	}
	return drops
}
