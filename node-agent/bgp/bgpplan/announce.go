package bgpplan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// announcements returns what the node originates, each prefix once.
func (p *planner) announcements() []Announcement {
	if p.in.Draining {
		return nil
	}
	found := map[netip.Prefix]AnnouncementSource{}
	add := func(prefix netip.Prefix, source AnnouncementSource) {
		if _, ok := found[prefix]; !ok {
			found[prefix] = source
		}
	}
	silent := map[string]bool{}
	for _, pool := range p.in.Pools {
		silent[pool.Name] = pool.Spec.DisableBGPExport
	}
	var blocks []netip.Prefix
	for _, b := range p.in.Blocks {
		cidr, err := netip.ParsePrefix(b.Spec.CIDR)
		if err != nil || b.Spec.Node != p.in.Node {
			continue
		}
		blocks = append(blocks, cidr.Masked())
		if !silent[b.Spec.Pool] {
			add(cidr.Masked(), SourceBlock)
		}
	}
	for i := range p.in.Endpoints {
		for _, stray := range strayAddresses(&p.in.Endpoints[i], p.in.Node, blocks, silent) {
			add(stray, SourceAddress)
		}
	}
	for _, prefix := range p.servicePrefixes() {
		add(prefix, SourceService)
	}
	return p.withCommunities(found)
}

// strayAddresses returns an endpoint's addresses that are in none of the node's blocks.
func strayAddresses(e *v1alpha1.WorkloadEndpoint, node string, blocks []netip.Prefix, silent map[string]bool) (stray []netip.Prefix) {
	if e.Spec.Node != node {
		return nil
	}
	for i, text := range e.Spec.Addresses {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || i < len(e.Spec.Pools) && silent[e.Spec.Pools[i]] {
			continue
		}
		if !slices.ContainsFunc(blocks, func(b netip.Prefix) bool { return b.Contains(prefix.Addr()) }) {
			stray = append(stray, netip.PrefixFrom(prefix.Addr(), prefix.Addr().BitLen()))
		}
	}
	return stray
}

// withCommunities gives each prefix the communities of the prefixAdvertisements that cover it.
func (p *planner) withCommunities(found map[netip.Prefix]AnnouncementSource) []Announcement {
	list := make([]Announcement, 0, len(found))
	for prefix, source := range found {
		a := Announcement{Prefix: prefix, Source: source, NextHop: p.self.address(prefix.Addr())}
		for _, adv := range p.config.PrefixAdvertisements {
			cover, err := netip.ParsePrefix(adv.CIDR)
			if err != nil || !contains(cover, prefix) {
				continue
			}
			for _, c := range adv.Communities {
				if !validCommunity(string(c)) {
					p.problem("BGPConfiguration", "default", "InvalidCommunity",
						"prefixAdvertisements has the community "+quote(string(c))+"; write 64512:100, each number at most 65535, or 64512:100:200.")
				} else if strings.Count(string(c), ":") == 2 {
					a.LargeCommunities = append(a.LargeCommunities, string(c))
				} else {
					a.Communities = append(a.Communities, string(c))
				}
			}
		}
		slices.Sort(a.Communities)
		slices.Sort(a.LargeCommunities)
		a.Communities, a.LargeCommunities = slices.Compact(a.Communities), slices.Compact(a.LargeCommunities)
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Announcement) int { return comparePrefix(a.Prefix, b.Prefix) })
	return list
}

// exportPrefixes returns the pools without disableBGPExport.
func (p *planner) exportPrefixes() (prefixes []netip.Prefix) {
	for _, pool := range p.in.Pools {
		if cidr, err := netip.ParsePrefix(pool.Spec.CIDR); err == nil && !pool.Spec.DisableBGPExport {
			prefixes = append(prefixes, cidr.Masked())
		}
	}
	slices.SortFunc(prefixes, comparePrefix)
	return slices.Compact(prefixes)
}

// contains says whether inner is outer or inside it.
func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
