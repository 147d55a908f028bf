package gobgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// ceaseWords are the subcodes of Cease (RFC 4486, RFC 8538, RFC 9384).
var ceaseWords = map[byte]string{
	1: "the peer got more prefixes than it allows", 2: "it was shut down by its administrator", 3: "the session is not configured any more",
	4: "it was reset by its administrator", 5: "the connection was rejected: the session is not configured there, or not yet",
	6: "its configuration was changed", 7: "another connection of this session was kept", 8: "it is out of resources",
	9: "it made a hard reset", 10: "BFD found the path down",
}

// notificationWords says in a sentence what a NOTIFICATION (RFC 4271 section 4.5) means.
func notificationWords(s bgpplan.Session, code, sub byte, data []byte, received bool) string {
	who := "This node ended the session: "
	if received {
		who = "The peer ended the session: "
	}
	switch {
	case code == 1:
		return who + "a message had a malformed header."
	case code == 2 && sub == 2 && received:
		return fmt.Sprintf("The peer expects another AS number than %d; correct it here or there.", s.LocalAS)
	case code == 2 && sub == 2:
		return fmt.Sprintf("AS %d expected, another came; correct asNumber here or the peer's configuration.", s.PeerAS)
	case code == 2 && sub == 3:
		return who + "both have the same BGP identifier, or it is not valid; give each router its own."
	case code == 2 && sub == 4, code == 2 && sub == 7:
		return who + "it does not know an option or capability that is needed."
	case code == 2 && sub == 6:
		return who + "the hold time is not acceptable; change holdTime."
	case code == 2:
		return fmt.Sprintf("%sthe OPEN message was not acceptable (subcode %d).", who, sub)
	case code == 3:
		return fmt.Sprintf("%san UPDATE message was malformed (subcode %d).", who, sub)
	case code == 4:
		return who + "nothing was heard within the hold time."
	case code == 5:
		return who + "a message came that does not belong into that state."
	case code == 6:
		if words, ok := ceaseWords[sub]; ok {
			return who + words + communication(sub, data) + "."
		}
	}
	return fmt.Sprintf("%scode %d, subcode %d.", who, code, sub)
}

// communication returns what the other administrator wrote (RFC 9003).
func communication(sub byte, data []byte) string {
	if sub != 2 && sub != 4 || len(data) < 2 || len(data) < 1+int(data[0]) {
		return ""
	}
	return fmt.Sprintf(" (%q)", data[1:1+int(data[0])])
}

// dialFault says why a connection was not made. A peer whose password differs drops our packets without an answer
// (RFC 2385 section 4.1).
func dialFault(s bgpplan.Session, err error, md5Mismatch bool) fault {
	target := net.JoinHostPort(s.Peer.String(), fmt.Sprint(s.Port))
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault{words: fmt.Sprintf("%s refuses connections: check that the peer runs and listens on that port.", target)}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fault{words: fmt.Sprintf("There is no way to %s: check the network, or set reachableBy.", s.Peer)}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fault{fmt.Sprintf("This node does not have the source address %s any more.", s.SourceAddress), true}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		switch {
		case md5Mismatch && s.Password == "":
			return fault{"The peer wants a password, and none is configured here.", true}
		case md5Mismatch:
			return fault{"The password differs from the peer's, or the peer has none.", true}
		case s.Password != "":
			return fault{words: fmt.Sprintf("%s does not answer: it is unreachable, or the password differs from the peer's.", target)}
		}
		return fault{words: fmt.Sprintf("%s does not answer: it is unreachable, drops packets with this TTL, or wants a password.", target)}
	}
	return fault{words: fmt.Sprintf("The connection to %s failed: %v.", target, err)}
}

// asWords compares the AS number of an OPEN with the one expected.
func asWords(expected, came uint32) string {
	return fmt.Sprintf("AS %d expected, %d came; correct asNumber here or the peer's configuration.", expected, came)
}

// notification makes a NOTIFICATION message.
func notification(code, sub byte) []byte { return message(typeNotification, []byte{code, sub}) }

// splitNotification reads the body of one.
func splitNotification(body []byte) (code, sub byte, data []byte) {
	if len(body) < 2 {
		return 0, 0, nil
	}
	return body[0], body[1], body[2:]
}

// headerFault checks a message's header and returns its kind and its body's length.
func headerFault(h []byte) (kind byte, length int, ok bool) {
	for _, b := range h[:16] {
		if b != 0xff {
			return 0, 0, false
		}
	}
	kind, length = h[18], int(binary.BigEndian.Uint16(h[16:]))
	shortest := map[byte]int{typeOpen: 29, typeUpdate: 23, typeNotification: 21, typeKeepalive: 19, typeRouteRefresh: 23}
	least, known := shortest[kind]
	if !known || length < least || length > maxLength || kind == typeKeepalive && length != 19 || kind == typeRouteRefresh && length != 23 {
		return 0, 0, false
	}
	return kind, length - headerLength, true
}
