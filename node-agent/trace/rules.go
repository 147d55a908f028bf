package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/trace/match"
)

// tablePrefix begins the names of the nftables tables that make the kernel tell what its rules do with a probe.
const tablePrefix = "causeway-trace-"

const (
	tableOwned = 2 // NFT_TABLE_F_OWNER: the kernel deletes the table when its socket is closed, or its process ends
	earliest   = -500
	batchBegin = 0x10
	batchEnd   = 0x11
)

// rules is a table of nftables with `meta nftrace set 1` for the packets of one probe. It belongs to the socket.
type rules struct {
	fd    int
	table string
}

// markProbe makes the table:
//
//	table inet causeway-trace-<id> { flags owner
//	  chain Request_prerouting { type filter hook prerouting priority -500; <each pattern> meta nftrace set 1 }
//
// and so on, with a chain for each leg and hook, so that the chain's name tells the leg. The ends of a Service are a set:
//
//	set ends { type ipv4_addr . inet_service; elements = { <its address> . <its port>, <an endpoint's> . <its port>, ... } }
func markProbe(id string, patterns []match.Pattern, perSecond uint64) (*rules, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", err)
	}
	r := &rules{fd: fd, table: tablePrefix + id}
	if err := r.make(patterns, perSecond); err != nil {
		r.close()
		return nil, fmt.Errorf("make nftables table %s: %w", r.table, err)
	}
	return r, nil
}

func (r *rules) close() { _ = unix.Close(r.fd) } // the table goes with it

func (r *rules) make(patterns []match.Pattern, perSecond uint64) error {
	if err := unix.Bind(r.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return err
	}
	var b nftBatch
	b.message(batchBegin, 0, unix.NFNL_SUBSYS_NFTABLES)
	b.nft(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, text(unix.NFTA_TABLE_NAME, r.table), number(unix.NFTA_TABLE_FLAGS, tableOwned))
	for _, p := range patterns {
		if len(p.Ends.Any) > 0 { // they have the same ones
			b.ends(r.table, p.Ends.Any)
			break
		}
	}
	for _, leg := range []match.Leg{match.Request, match.Reply} {
		for hook, kind := range map[string]uint32{"prerouting": unix.NF_INET_PRE_ROUTING, "output": unix.NF_INET_LOCAL_OUT} {
			chain := string(leg) + "_" + hook
			priority := int32(earliest)
			b.nft(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, text(unix.NFTA_CHAIN_TABLE, r.table), text(unix.NFTA_CHAIN_NAME, chain),
				nested(unix.NFTA_CHAIN_HOOK, number(unix.NFTA_HOOK_HOOKNUM, kind), number(unix.NFTA_HOOK_PRIORITY, uint32(priority))),
				text(unix.NFTA_CHAIN_TYPE, "filter"))
			for _, p := range patterns {
				if p.Leg == leg {
					b.nft(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, text(unix.NFTA_RULE_TABLE, r.table), text(unix.NFTA_RULE_CHAIN, chain),
						nested(unix.NFTA_RULE_EXPRESSIONS, expressions(p, perSecond)...))
				}
			}
		}
	}
	b.message(batchEnd, 0, unix.NFNL_SUBSYS_NFTABLES)
	if err := unix.Sendto(r.fd, b.bytes, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	return r.acknowledged(b.asked)
}

// acknowledged reads one answer for each message that asked for one. A batch is taken or refused as a whole.
func (r *rules) acknowledged(count int) error {
	buffer := make([]byte, os.Getpagesize()*4)
	for count > 0 {
		n, _, err := unix.Recvfrom(r.fd, buffer, 0)
		if err != nil {
			return fmt.Errorf("read the kernel's answer: %w", err)
		}
		for rest := buffer[:n]; len(rest) >= unix.NLMSG_HDRLEN+4; {
			length := int(binary.NativeEndian.Uint32(rest))
			if length < unix.NLMSG_HDRLEN || length > len(rest) {
				break
			}
			if binary.NativeEndian.Uint16(rest[4:]) == unix.NLMSG_ERROR {
				if code := int32(binary.NativeEndian.Uint32(rest[unix.NLMSG_HDRLEN:])); code != 0 {
					return unix.Errno(-code)
				}
				count--
			}
			rest = rest[min((length+3)&^3, len(rest)):]
		}
	}
	return nil
}

// expressions are one rule: what must be equal, with perSecond `limit rate <perSecond>/second`, and `meta nftrace set 1`.
func expressions(p match.Pattern, perSecond uint64) []*nl.RtAttr {
	family := byte(unix.NFPROTO_IPV4)
	if p.V6 {
		family = unix.NFPROTO_IPV6
	}
	out := []*nl.RtAttr{
		expression("meta", number(unix.NFTA_META_DREG, unix.NFT_REG_1), number(unix.NFTA_META_KEY, unix.NFT_META_NFPROTO)),
		equals([]byte{family}),
	}
	for _, t := range p.Tests {
		out = append(out,
			expression("payload", number(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1), number(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER),
				number(unix.NFTA_PAYLOAD_OFFSET, uint32(t.Offset)), number(unix.NFTA_PAYLOAD_LEN, uint32(len(t.Want)))),
			equals(t.Want))
	}
	if len(p.Ends.Any) > 0 {
		out = append(out, within(p.Ends)...)
	}
	if perSecond > 0 {
		out = append(out, expression("limit", wide(unix.NFTA_LIMIT_RATE, perSecond), wide(unix.NFTA_LIMIT_UNIT, 1), number(unix.NFTA_LIMIT_BURST, 20)))
	}
	return append(out,
		expression("immediate", number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_1), nested(unix.NFTA_IMMEDIATE_DATA, nl.NewRtAttr(unix.NFTA_DATA_VALUE, []byte{1}))),
		expression("meta", number(unix.NFTA_META_SREG, unix.NFT_REG_1), number(unix.NFTA_META_KEY, unix.NFT_META_NFTRACE)))
}

// endsSet is the name of the set of a Service's ends.
const endsSet = "ends"

// Types of what a set has, as the program nft numbers them; two make one by a shift of six bits.
const ipv4Address, ipv6Address, inetService, typeBits = 7, 8, 13, 6

// ends makes the set `type ipv4_addr . inet_service`, or that of IPv6.
func (b *nftBatch) ends(table string, ends []netip.AddrPort) {
	const id = 1 // of the set within the batch
	size, kind := ends[0].Addr().BitLen()/8, uint32(ipv4Address)
	if size == 16 {
		kind = ipv6Address
	}
	b.nft(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, text(unix.NFTA_SET_TABLE, table), text(unix.NFTA_SET_NAME, endsSet), number(unix.NFTA_SET_ID, id),
		number(unix.NFTA_SET_KEY_TYPE, kind<<typeBits|inetService), number(unix.NFTA_SET_KEY_LEN, uint32(size)+4))
	var elements []*nl.RtAttr
	for i, end := range ends {
		if slices.Contains(ends[:i], end) {
			continue
		}
		key := append(binary.BigEndian.AppendUint16(end.Addr().AsSlice(), end.Port()), 0, 0) // each part fills whole registers of four bytes
		elements = append(elements, nested(unix.NFTA_LIST_ELEM, nested(unix.NFTA_SET_ELEM_KEY, nl.NewRtAttr(unix.NFTA_DATA_VALUE, key))))
	}
	b.nft(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, text(unix.NFTA_SET_ELEM_LIST_TABLE, table), text(unix.NFTA_SET_ELEM_LIST_SET, endsSet),
		nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, elements...))
}

// within is `<address> . <port> @ends`.
func within(e match.Ends) []*nl.RtAttr {
	size := e.Any[0].Addr().BitLen() / 8
	load := func(register, offset, length int) *nl.RtAttr {
		return expression("payload", number(unix.NFTA_PAYLOAD_DREG, uint32(register)), number(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER),
			number(unix.NFTA_PAYLOAD_OFFSET, uint32(offset)), number(unix.NFTA_PAYLOAD_LEN, uint32(length)))
	}
	return []*nl.RtAttr{
		load(unix.NFT_REG32_00, e.Address, size),
		load(unix.NFT_REG32_00+size/4, e.Port, 2),
		expression("lookup", text(unix.NFTA_LOOKUP_SET, endsSet), number(unix.NFTA_LOOKUP_SREG, unix.NFT_REG32_00)),
	}
}

func equals(value []byte) *nl.RtAttr {
	return expression("cmp", number(unix.NFTA_CMP_SREG, unix.NFT_REG_1), number(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ),
		nested(unix.NFTA_CMP_DATA, nl.NewRtAttr(unix.NFTA_DATA_VALUE, value)))
}

func expression(name string, attributes ...*nl.RtAttr) *nl.RtAttr {
	return nested(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, name), nested(unix.NFTA_EXPR_DATA, attributes...))
}

func text(kind int, value string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(value)) }

func number(kind int, value uint32) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.BigEndian.AppendUint32(nil, value))
}

func wide(kind int, value uint64) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.BigEndian.AppendUint64(nil, value))
}

func nested(kind int, children ...*nl.RtAttr) *nl.RtAttr {
	out := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	for _, c := range children {
		out.AddChild(c)
	}
	return out
}

// nftBatch is a transaction of nftables, as bytes.
type nftBatch struct {
	bytes []byte
	asked int // messages that ask for an answer
}

func (b *nftBatch) nft(kind, flags int, attributes ...*nl.RtAttr) {
	b.asked++
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags|unix.NLM_F_ACK, 0, attributes...)
}

func (b *nftBatch) message(kind, flags int, resource uint16, attributes ...*nl.RtAttr) {
	var body []byte
	for _, a := range attributes {
		body = append(body, a.Serialize()...)
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
	}
	family := byte(unix.NFPROTO_INET)
	if kind == batchBegin || kind == batchEnd {
		family = unix.AF_UNSPEC
	}
	length := unix.NLMSG_HDRLEN + 4 + len(body)
	b.bytes = binary.NativeEndian.AppendUint32(b.bytes, uint32(length))
	b.bytes = binary.NativeEndian.AppendUint16(b.bytes, uint16(kind))
	b.bytes = binary.NativeEndian.AppendUint16(b.bytes, uint16(unix.NLM_F_REQUEST|flags))
	b.bytes = append(b.bytes, 0, 0, 0, 0, 0, 0, 0, 0) // sequence, port
	b.bytes = append(b.bytes, family, unix.NFNETLINK_V0)
	b.bytes = binary.BigEndian.AppendUint16(b.bytes, resource)
	b.bytes = append(b.bytes, body...)
}
