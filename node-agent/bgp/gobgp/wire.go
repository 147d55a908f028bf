package gobgp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Message and attribute numbers of RFC 4271, 4456, 4760, 1997, 8092.
const (
	headerLength = 19
	maxLength    = 4096

	typeOpen         = 1
	typeUpdate       = 2
	typeNotification = 3
	typeKeepalive    = 4
	typeRouteRefresh = 5

	attrOrigin, attrASPath, attrNextHop, attrMED                     = 1, 2, 3, 4
	attrLocalPref, attrAtomic, attrAggregator, attrCommunities       = 5, 6, 7, 8
	attrOriginator, attrClusterList, attrMPReach, attrMPUnreach      = 9, 10, 14, 15
	attrLargeCommunities                                             = 32
	flagOptional, flagTransitive, flagExtended                  byte = 0x80, 0x40, 0x10
)

var errMalformed = errors.New("malformed")

// updateParts are the three parts of an UPDATE's body.
type updateParts struct {
	withdrawn, attributes, nlri []byte
}

func splitUpdate(body []byte) (u updateParts, err error) {
	if u.withdrawn, body, err = lengthPrefixed(body); err != nil {
		return u, err
	}
	if u.attributes, u.nlri, err = lengthPrefixed(body); err != nil {
		return u, err
	}
	return u, nil
}

func lengthPrefixed(b []byte) (part, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errMalformed
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, errMalformed
	}
	return b[2 : 2+n], b[2+n:], nil
}

// attribute is one path attribute.
type attribute struct {
	flags, code byte
	value       []byte
}

// nextAttribute cuts the first attribute off.
func nextAttribute(b []byte) (a attribute, rest []byte, err error) {
	if len(b) < 3 {
		return a, nil, errMalformed
	}
	a.flags, a.code = b[0], b[1]
	if a.flags&flagExtended == 0 {
		b = b[2:]
		n := int(b[0])
		if len(b) < 1+n {
			return a, nil, errMalformed
		}
		a.value, rest = b[1:1+n], b[1+n:]
		return a, rest, nil
	}
	a.value, rest, err = lengthPrefixed(b[2:])
	return a, rest, err
}

// appendAttribute appends an attribute in wire format.
func appendAttribute(b []byte, a attribute) []byte {
	if len(a.value) > 255 {
		b = append(b, a.flags|flagExtended, a.code, byte(len(a.value)>>8), byte(len(a.value)))
	} else {
		b = append(b, a.flags&^flagExtended, a.code, byte(len(a.value)))
	}
	return append(b, a.value...)
}

// eachPrefix calls f for every prefix of an NLRI field of one family.
func eachPrefix(nlri []byte, v6 bool, f func(netip.Prefix)) error {
	size := 4
	if v6 {
		size = 16
	}
	for len(nlri) > 0 {
		bits := int(nlri[0])
		n := (bits + 7) / 8
		if n > size || bits > size*8 || len(nlri) < 1+n {
			return errMalformed
		}
		if f != nil {
			var raw [16]byte
			copy(raw[:], nlri[1:1+n])
			addr := netip.AddrFrom16(raw)
			if !v6 {
				addr = netip.AddrFrom4([4]byte(raw[:4]))
			}
			f(netip.PrefixFrom(addr, bits).Masked())
		}
		nlri = nlri[1+n:]
	}
	return nil
}

// reach is a decoded MP_REACH_NLRI or MP_UNREACH_NLRI attribute.
type reach struct {
	afi           uint16
	safi          byte
	nextHop, nlri []byte
}

func (r reach) v6() bool { return r.afi == 2 }

// unicast says whether it is of a family that we speak.
func (r reach) unicast() bool { return (r.afi == 1 || r.afi == 2) && r.safi == 1 }

func decodeReach(v []byte) (r reach, err error) {
	if len(v) < 5 {
		return r, errMalformed
	}
	r.afi, r.safi = binary.BigEndian.Uint16(v), v[2]
	n := int(v[3])
	if len(v) < 5+n {
		return r, errMalformed
	}
	r.nextHop, r.nlri = v[4:4+n], v[5+n:]
	return r, nil
}

func decodeUnreach(v []byte) (r reach, err error) {
	if len(v) < 3 {
		return r, errMalformed
	}
	r.afi, r.safi, r.nlri = binary.BigEndian.Uint16(v), v[2], v[3:]
	return r, nil
}

// message puts a header in front of a body.
func message(kind byte, body []byte) []byte {
	m := make([]byte, headerLength, headerLength+len(body))
	for i := range 16 {
		m[i] = 0xff
	}
	binary.BigEndian.PutUint16(m[16:], uint16(headerLength+len(body)))
	m[18] = kind
	return append(m, body...)
}

// open is what we need to know of an OPEN message.
type open struct {
	as          uint32
	fourOctetAS bool
	graceful    bool
	ipv4, ipv6  bool
}

// decodeOpen reads an OPEN (RFC 4271 section 4.2, RFC 5492, RFC 9072 for long parameters).
func decodeOpen(body []byte) (o open, err error) {
	if len(body) < 10 {
		return o, errMalformed
	}
	o.as = uint32(binary.BigEndian.Uint16(body[1:]))
	params, families := body[10:], 0
	if int(body[9]) != len(params) {
		return o, errMalformed // RFC 9072 is for more capabilities than routers have; GoBGP doesn't know it either.
	}
	for len(params) > 0 {
		if len(params) < 2 || len(params) < 2+int(params[1]) {
			return o, errMalformed
		}
		kind, caps := params[0], params[2:2+int(params[1])]
		params = params[2+len(caps):]
		for kind == 2 && len(caps) > 0 {
			if len(caps) < 2 || len(caps) < 2+int(caps[1]) {
				return o, errMalformed
			}
			code, value := caps[0], caps[2:2+int(caps[1])]
			caps = caps[2+len(value):]
			switch {
			case code == 1 && len(value) == 4:
				families++
				o.ipv4 = o.ipv4 || value[1] == 1 && value[3] == 1
				o.ipv6 = o.ipv6 || value[1] == 2 && value[3] == 1
			case code == 65 && len(value) == 4:
				o.as, o.fourOctetAS = binary.BigEndian.Uint32(value), true
			case code == 64 && len(value) >= 2:
				o.graceful = true
			}
		}
	}
	o.ipv4 = o.ipv4 || families == 0
	return o, nil
}

// knownCapabilities are passed on to GoBGP; it needs no other, and its decoders of others are no use to anybody.
var knownCapabilities = map[byte]int{1: 4, 2: 0, 5: -1, 64: -1, 65: 4}

// cleanOpen leaves out of an OPEN the capabilities that we have no use for, so that GoBGP need not decode them.
func cleanOpen(body []byte) []byte {
	params := body[10:]
	var caps []byte
	for len(params) >= 2 {
		kind, list := params[0], params[2:2+int(params[1])]
		params = params[2+len(list):]
		for kind == 2 && len(list) >= 2 {
			one := list[:2+int(list[1])]
			list = list[len(one):]
			want, known := knownCapabilities[one[0]]
			if !known || want >= 0 && want != len(one)-2 {
				continue
			}
			if one[0] == 64 && (len(one) < 4 || (len(one)-4)%4 != 0) || one[0] == 5 && (len(one)-2)%6 != 0 {
				continue
			}
			caps = append(caps, one...)
		}
	}
	clean := append([]byte(nil), body[:9]...)
	if len(caps) == 0 {
		return append(clean, 0)
	}
	clean = append(clean, byte(len(caps)+2), 2, byte(len(caps)))
	return append(clean, caps...)
}

// withdrawal makes an UPDATE that withdraws one prefix.
func withdrawal(p netip.Prefix) []byte {
	nlri := append([]byte{byte(p.Bits())}, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	var withdrawn, attributes []byte
	if p.Addr().Is4() {
		withdrawn = nlri
	} else {
		attributes = appendAttribute(nil, attribute{flagOptional, attrMPUnreach, append([]byte{0, 2, 1}, nlri...)})
	}
	body := append(binary.BigEndian.AppendUint16(nil, uint16(len(withdrawn))), withdrawn...)
	return message(typeUpdate, append(binary.BigEndian.AppendUint16(body, uint16(len(attributes))), attributes...))
}
