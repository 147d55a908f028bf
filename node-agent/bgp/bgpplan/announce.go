package bgpplan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/bgpcheck"
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
		silent[pool.Name] = !pool.Export
	}
	blocks := p.joinBlocks(slices.DeleteFunc(slices.Clone(p.in.Blocks), func(b Block) bool { return silent[b.Pool] }))
	for _, prefix := range blocks {
		add(prefix, SourceBlock)
	}
	p.plan.Ending = p.ending(blocks)
	for _, e := range p.plan.Ending {
		add(e.Prefix, SourceBlock)
	}
	for _, outside := range OutsideBlocks(p.in.PodAddresses, p.in.Blocks) {
		if !silent[outside.Pool] {
			add(netip.PrefixFrom(outside.Address, outside.Address.BitLen()), SourceAddress)
		}
	}
	for _, prefix := range p.servicePrefixes() {
		add(prefix, SourceService)
	}
	return p.withCommunities(found)
}

// OutsideBlocks returns the addresses of pods that are in none of the node's blocks, in the order in which they came. Each
// is announced by itself.
func OutsideBlocks(addresses []PodAddress, blocks []Block) (outside []PodAddress) {
	for _, a := range addresses {
		if !slices.ContainsFunc(blocks, func(b Block) bool { return b.CIDR.Contains(a.Address) }) {
			outside = append(outside, a)
		}
	}
	return outside
}

// withCommunities gives each prefix the communities of the prefixAdvertisements that cover it.
func (p *planner) withCommunities(found map[netip.Prefix]AnnouncementSource) []Announcement {
	list := make([]Announcement, 0, len(found))
	for prefix, source := range found {
		a := Announcement{Prefix: prefix, Source: source, NextHop: p.self.address(prefix.Addr())}
		a.Communities, a.LargeCommunities = p.communities(prefix)
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Announcement) int { return comparePrefix(a.Prefix, b.Prefix) })
	return list
}

// communities returns those of the prefixAdvertisements that cover a prefix.
func (p *planner) communities(prefix netip.Prefix) (standard, large []string) {
	for _, adv := range p.config.PrefixAdvertisements {
		cover, err := netip.ParsePrefix(adv.CIDR)
		if err != nil || !contains(cover, prefix) {
			continue
		}
		for _, c := range adv.Communities {
			switch {
			case !bgpcheck.ValidCommunity(string(c)): // which is among the problems of the BGPConfiguration
			case strings.Count(string(c), ":") == 2:
				large = append(large, string(c))
			default:
				standard = append(standard, string(c))
			}
		}
	}
	slices.Sort(standard)
	slices.Sort(large)
	return slices.Compact(standard), slices.Compact(large)
}

// exportPrefixes returns the pools without disableBGPExport.
func (p *planner) exportPrefixes() (prefixes []netip.Prefix) {
	for _, pool := range p.in.Pools {
		if pool.Export {
			prefixes = append(prefixes, pool.CIDR.Masked())
		}
	}
	slices.SortFunc(prefixes, comparePrefix)
	return slices.Compact(prefixes)
}

// contains says whether inner is outer or inside it.
func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
