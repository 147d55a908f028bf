package gobgp

import (
	"encoding/binary"
	"net/netip"
)

// sanitizer checks the UPDATE messages of one session, so that GoBGP sees well-formed ones only: v3.37.0 panics on some
// others (GHSA-4p9m-8gc4-rw2h NEXT_HOP, GHSA-8rxh-r2p6-7f2q AS4_PATH, GHSA-7235-89m6-f4px unknown well-known attributes,
// GHSA-p3w2-64xm-833j treat-as-withdraw, GHSA-frrj-87jh-2772 AS_PATH; fixed in v4 alone). What RFC 7606 treats as a
// withdrawal becomes one here.
type sanitizer struct {
	external    bool
	fourOctetAS bool
	ipv4, ipv6  bool
	// own may be in an AS path allowOwn times. A path that has it more often is a loop (RFC 4271 section 9.1.2), and becomes a
	// withdrawal: GoBGP v3.37.0 ignores it and goes on to use the path that it should replace.
	own      uint32
	allowOwn int
	// routerID is the node's own. A route with it as ORIGINATOR_ID has come back from a reflector (RFC 4456 section 8), and
	// becomes a withdrawal too.
	routerID netip.Addr
}

// updateFault is an UPDATE that ends the session: what it says can't be told.
type updateFault struct {
	subcode byte
	words   string
}

func (f *updateFault) Error() string { return f.words }

// clean returns the body to pass on, which is nil where nothing is left, and what was wrong with it in words.
func (s sanitizer) clean(body []byte) (cleaned []byte, complaint string, fault *updateFault) {
	u, err := splitUpdate(body)
	if err != nil {
		return nil, "", &updateFault{1, "its lengths don't add up"}
	}
	if eachPrefix(u.withdrawn, false, nil) != nil || eachPrefix(u.nlri, false, nil) != nil {
		return nil, "", &updateFault{10, "it has a prefix longer than its address"}
	}
	c := cleaner{sanitizer: s, u: u}
	if fault := c.attributes(); fault != nil {
		return nil, "", fault
	}
	if len(c.unreach.nlri)+len(c.reach.nlri)+len(u.withdrawn)+len(u.nlri) == 0 && !c.hasUnreach && !c.hasReach && len(u.attributes) > 0 {
		return nil, c.complaint, nil // Attributes of nothing, or only of families that we don't speak.
	}
	c.require()
	if c.bad {
		return c.withdrawal(), c.complaint, nil
	}
	return c.assemble(c.u.withdrawn, c.kept, c.u.nlri), c.complaint, nil
}

// cleaner is the work on one message.
type cleaner struct {
	sanitizer
	u                    updateParts
	kept                 []byte
	seen                 [256]bool
	reach, unreach       reach
	hasReach, hasUnreach bool
	// bad turns the announcements into withdrawals.
	bad       bool
	complaint string
}

func (c *cleaner) complain(words string) { c.bad, c.complaint = true, words }

// attributes keeps the attributes that are well-formed and of use.
func (c *cleaner) attributes() *updateFault {
	for rest := c.u.attributes; len(rest) > 0; {
		a, tail, err := nextAttribute(rest)
		if err != nil {
			// RFC 7606 section 4: what came before tells the prefixes, unless they are in an MP attribute behind.
			c.complain("an attribute is longer than the message")
			return nil
		}
		rest = tail
		if c.seen[a.code] {
			if a.code == attrMPReach || a.code == attrMPUnreach {
				return &updateFault{1, "it has two MP_REACH_NLRI or MP_UNREACH_NLRI attributes"}
			}
			continue
		}
		c.seen[a.code] = true
		if fault := c.attribute(a); fault != nil {
			return fault
		}
	}
	return nil
}

// wanted are the flags of the attributes that we pass on (RFC 4271 section 5 and the attributes' own). All others are
// left out: nothing here looks at them.
var wanted = map[byte]byte{
	attrOrigin: flagTransitive, attrASPath: flagTransitive, attrNextHop: flagTransitive, attrMED: flagOptional,
	attrLocalPref: flagTransitive, attrAtomic: flagTransitive, attrAggregator: flagOptional | flagTransitive,
	attrCommunities: flagOptional | flagTransitive, attrOriginator: flagOptional, attrClusterList: flagOptional,
	attrMPReach: flagOptional, attrMPUnreach: flagOptional, attrLargeCommunities: flagOptional | flagTransitive,
}

func (c *cleaner) attribute(a attribute) *updateFault {
	flags, known := wanted[a.code]
	if !known {
		if a.flags&flagOptional == 0 {
			c.complain("it has a well-known attribute that no RFC knows")
		}
		return nil
	}
	if a.flags&(flagOptional|flagTransitive) != flags {
		c.complain("an attribute has wrong flags")
	}
	switch a.code {
	case attrMPReach:
		return c.mpReach(a)
	case attrMPUnreach:
		return c.mpUnreach(a)
	case attrLocalPref, attrOriginator, attrClusterList:
		if c.external {
			return nil // RFC 7606 sections 7.5, 7.9 and 7.10: from outside they mean nothing.
		}
	}
	switch ok, drop := c.wellFormed(a); {
	case ok && (a.code == attrASPath && c.loops(a.value) || a.code == attrOriginator && netip.AddrFrom4([4]byte(a.value)) == c.routerID):
		c.bad = true // nothing is wrong with it
		return nil
	case !ok && drop:
		c.complaint = "an attribute has the wrong length and was left out"
		return nil
	case !ok:
		c.complain("an attribute is malformed")
		return nil
	}
	a.flags = flags
	c.kept = appendAttribute(c.kept, a)
	return nil
}

// wellFormed checks a value by RFC 7606 section 7; drop says that only the attribute is lost.
func (c *cleaner) wellFormed(a attribute) (ok, drop bool) {
	n := len(a.value)
	switch a.code {
	case attrOrigin:
		return n == 1 && a.value[0] <= 2, false
	case attrASPath:
		return c.asPath(a.value), false
	case attrNextHop:
		return n == 4 && usable(netip.AddrFrom4([4]byte(a.value))), false
	case attrMED, attrLocalPref, attrOriginator:
		return n == 4, false
	case attrAtomic:
		return n == 0, true
	case attrAggregator:
		return c.fourOctetAS && n == 8 || !c.fourOctetAS && n == 6, true
	case attrCommunities, attrClusterList:
		return n > 0 && n%4 == 0, false
	case attrLargeCommunities:
		return n > 0 && n%12 == 0, false
	}
	return false, true
}

// asPath checks the segments. Confederation segments (RFC 5065) have no place outside a confederation.
func (c *cleaner) asPath(v []byte) bool {
	size := 2
	if c.fourOctetAS {
		size = 4
	}
	if len(v) == 0 {
		return !c.external
	}
	for len(v) > 0 {
		if len(v) < 2 || v[0] != 1 && v[0] != 2 || v[1] == 0 || len(v) < 2+int(v[1])*size {
			return false
		}
		v = v[2+int(v[1])*size:]
	}
	return true
}

// loops says whether a well-formed AS path has been here.
func (c *cleaner) loops(path []byte) bool {
	size, count := 2, 0
	if c.fourOctetAS {
		size = 4
	}
	for len(path) > 0 {
		numbers := path[2 : 2+int(path[1])*size]
		path = path[2+len(numbers):]
		for ; len(numbers) > 0; numbers = numbers[size:] {
			as := uint32(binary.BigEndian.Uint16(numbers))
			if size == 4 {
				as = binary.BigEndian.Uint32(numbers)
			}
			if as == c.own {
				count++
			}
		}
	}
	return count > c.allowOwn
}

// usable says whether an address can be a next hop.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !(a.Is4() && a.As4()[0] >= 240)
}

func (c *cleaner) spoken(r reach) bool { return r.unicast() && (r.v6() && c.ipv6 || !r.v6() && c.ipv4) }

func (c *cleaner) mpReach(a attribute) *updateFault {
	r, err := decodeReach(a.value)
	if err != nil {
		return &updateFault{9, "its MP_REACH_NLRI is cut short"}
	}
	if !c.spoken(r) {
		return nil
	}
	if eachPrefix(r.nlri, r.v6(), nil) != nil {
		return &updateFault{9, "its MP_REACH_NLRI has a prefix longer than its address"}
	}
	c.reach, c.hasReach = r, true
	hop, ok := netip.AddrFromSlice(r.nextHop[:min(len(r.nextHop), 16)])
	if n := len(r.nextHop); !ok || n == 4 && r.v6() || n != 4 && n != 16 && n != 32 || !usable(hop.Unmap()) {
		c.complain("its next hop can't be one")
		return nil
	}
	value := binary.BigEndian.AppendUint16(nil, r.afi)
	value = append(append(append(value, r.safi, byte(len(r.nextHop))), r.nextHop...), 0)
	c.kept = appendAttribute(c.kept, attribute{flagOptional, attrMPReach, append(value, r.nlri...)})
	return nil
}

func (c *cleaner) mpUnreach(a attribute) *updateFault {
	r, err := decodeUnreach(a.value)
	if err != nil {
		return &updateFault{9, "its MP_UNREACH_NLRI is cut short"}
	}
	if !c.spoken(r) {
		return nil
	}
	if eachPrefix(r.nlri, r.v6(), nil) != nil {
		return &updateFault{9, "its MP_UNREACH_NLRI has a prefix longer than its address"}
	}
	c.unreach, c.hasUnreach = r, true
	c.kept = appendAttribute(c.kept, attribute{flagOptional, attrMPUnreach, a.value})
	return nil
}

// require looks for the mandatory attributes (RFC 4271 section 5).
func (c *cleaner) require() {
	announces := len(c.u.nlri) > 0 || c.hasReach
	switch {
	case len(c.u.nlri) > 0 && !c.ipv4:
		c.complain("it has IPv4 prefixes, which this session doesn't carry")
	case announces && !(c.seen[attrOrigin] && c.seen[attrASPath]), len(c.u.nlri) > 0 && !c.seen[attrNextHop]:
		c.complain("a mandatory attribute is missing")
	}
	if !c.ipv4 {
		c.u.withdrawn, c.u.nlri = nil, nil
	}
}

// withdrawal withdraws all that the message announces.
func (c *cleaner) withdrawal() []byte {
	withdrawn := append(append([]byte(nil), c.u.withdrawn...), c.u.nlri...)
	families := map[bool][]byte{}
	if c.hasUnreach {
		families[c.unreach.v6()] = append(families[c.unreach.v6()], c.unreach.nlri...)
	}
	if c.hasReach {
		families[c.reach.v6()] = append(families[c.reach.v6()], c.reach.nlri...)
	}
	withdrawn = append(withdrawn, families[false]...)
	var attrs []byte
	if v6 := families[true]; len(v6) > 0 {
		attrs = appendAttribute(nil, attribute{flagOptional, attrMPUnreach, append([]byte{0, 2, 1}, v6...)})
	}
	if len(withdrawn)+len(attrs) == 0 {
		return nil
	}
	return c.assemble(withdrawn, attrs, nil)
}

func (c *cleaner) assemble(withdrawn, attrs, nlri []byte) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 4+len(withdrawn)+len(attrs)+len(nlri)), uint16(len(withdrawn)))
	b = append(b, withdrawn...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(attrs)))
	return append(append(b, attrs...), nlri...)
}
