package underlay

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Choice says which of a node's addresses to take, where Kubernetes' own choice (the Node's InternalIP) is not the network
// that pods' packets should take. The zero value leaves it to Kubernetes.
type Choice struct {
	interfaces []string
	cidrs      []netip.Prefix
}

// ErrNotChosen says that a node has no address that the choice allows.
var ErrNotChosen = errors.New("no address of this node fits --node-address-interfaces and --node-address-cidrs")

// NewChoice takes patterns of interface names (such as eth* or bond0) and CIDRs. Where both are given, both must fit. The
// first pattern or CIDR that fits wins.
func NewChoice(interfaces, cidrs []string) (Choice, error) {
	c := Choice{interfaces: interfaces}
	for _, pattern := range interfaces {
		if _, err := path.Match(pattern, ""); err != nil {
			return Choice{}, fmt.Errorf("%q is no pattern of interface names: %w", pattern, err)
		}
	}
	for _, text := range cidrs {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return Choice{}, fmt.Errorf("choose addresses by CIDR: %w", err)
		}
		c.cidrs = append(c.cidrs, p.Masked())
	}
	return c, nil
}

// String shows the choice for people.
func (c Choice) String() string {
	return fmt.Sprintf("interfaces [%s], CIDRs %v", strings.Join(c.interfaces, " "), c.cidrs)
}

func (c Choice) made() bool { return len(c.interfaces)+len(c.cidrs) > 0 }

// of returns the best of some addresses of one family, or the zero value.
func (c Choice) of(addresses []netlink.Addr, links map[int]netlink.Link) plan.Underlay {
	var best plan.Underlay
	rank := [2]int{len(c.interfaces) + 1, len(c.cidrs) + 1}
	for _, a := range addresses {
		u, ok := place(a, links)
		flags := a.Flags
		if u.Address.Is4() {
			flags &^= unix.IFA_F_SECONDARY // the same bit means temporary for IPv6
		}
		if !ok || !u.Address.IsGlobalUnicast() || flags&passing != 0 {
			continue
		}
		r := [2]int{c.interfaceRank(u.Interface), c.cidrRank(u.Address)}
		allowed := r[0] <= len(c.interfaces) && r[1] <= len(c.cidrs)
		better := r[0] < rank[0] || r[0] == rank[0] && r[1] < rank[1]
		if allowed && better {
			best, rank = u, r
		}
	}
	return best
}

// interfaceRank is the place of the first pattern that fits; one more than there are patterns if none does.
func (c Choice) interfaceRank(name string) int {
	for i, pattern := range c.interfaces {
		if fits, _ := path.Match(pattern, name); fits {
			return i
		}
	}
	if len(c.interfaces) == 0 {
		return 0
	}
	return len(c.interfaces) + 1
}

func (c Choice) cidrRank(a netip.Addr) int {
	for i, p := range c.cidrs {
		if p.Contains(a) {
			return i
		}
	}
	if len(c.cidrs) == 0 {
		return 0
	}
	return len(c.cidrs) + 1
}

// SetMTU lowers or raises what the network between nodes is taken to carry; 0 leaves the interface's MTU.
func SetMTU(o *kernel.Observed, mtu int) {
	for _, u := range []*plan.Underlay{&o.V4, &o.V6} {
		if mtu > 0 && u.Interface != "" {
			u.MTU = mtu
		}
	}
}
