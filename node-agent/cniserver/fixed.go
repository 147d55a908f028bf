package cniserver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
	"github.com/causeway-net/causeway/internal/ipam/wish"
)

// exact returns the addresses that the runtime asks for.
func (c *call) exact() ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range c.config.RuntimeConfig.IPs {
		address, _, _ := strings.Cut(text, "/")
		a, err := netip.ParseAddr(address)
		if err != nil {
			return nil, fmt.Errorf("runtimeConfig.ips has %q, which is not an IP address", text)
		}
		out = append(out, a)
	}
	return out, nil
}

// fixed returns the addresses that the pod's annotation asks for: one of each family at most. The error is a *wish.Error.
func (c *call) fixed() ([]netip.Addr, error) {
	var out []netip.Addr
	seen := map[bool]netip.Addr{}
	for _, text := range v1alpha1.SplitList(c.config.RuntimeConfig.PodAnnotations[v1alpha1.AnnotationIPs]) {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return nil, &wish.Error{Reason: fmt.Sprintf("its annotation %s has %q, which is not an IP address", v1alpha1.AnnotationIPs, text)}
		}
		if other, twice := seen[a.Is4()]; twice {
			return nil, &wish.Error{Reason: fmt.Sprintf("its annotation %s asks for two addresses of one family, %s and %s; a pod has one of each", v1alpha1.AnnotationIPs, other, a)}
		}
		seen[a.Is4()] = a
		out = append(out, a)
	}
	return out, nil
}

// asked returns what a call asks for: wishes for pools, the one with most weight first, and addresses. The pool of a fixed address has
// more weight than pools by name.
func (s *Server) asked(c *call) ([]wish.Wish, []netip.Addr, error) {
	exact, err := c.exact()
	if err != nil {
		return nil, nil, err
	}
	fixed, err := c.fixed()
	if err != nil || len(fixed) == 0 {
		return c.wishes(), exact, err
	}
	pools, err := s.pools.Fixed(fixed)
	return append([]wish.Wish{pools}, c.wishes()...), append(exact, fixed...), err
}

// remembered adds the addresses that the pod had before to those that it asks for, which have more weight: one of each family.
func (s *Server) remembered(c *call, candidates [][]string, asked []netip.Addr) []netip.Addr {
	if c.Interface != sticky.Interface {
		return asked
	}
	out := slices.Clone(asked)
	for _, a := range s.pools.Remembered(c.namespace, c.pod, candidates) {
		if !slices.ContainsFunc(asked, func(o netip.Addr) bool { return o.Is4() == a.Is4() }) {
			out = append(out, a)
		}
	}
	return out
}
