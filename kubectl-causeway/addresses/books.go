package addresses

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/windows"
)

// CheckBooks compares the address books of nodes with records and blocks, and adds what differs. A book is the agent's
// memory of links that are really there.
func (a *Account) CheckBooks(c *objects.Cluster, books map[string]windows.Book) {
	blocks := newIndex(c)
	recorded := map[string]map[netip.Addr]Holder{}
	for _, h := range holders(c) {
		if recorded[h.Node] == nil {
			recorded[h.Node] = map[netip.Addr]Holder{}
		}
		recorded[h.Node][h.Address] = h
	}
	a.Books = len(books)
	for _, node := range slices.Sorted(maps.Keys(books)) {
		held := map[netip.Addr]string{}
		for _, entry := range entries(books[node]) {
			if entry.Pod != "" {
				held[entry.Address] = entry.Pod
			}
		}
		a.compareBook(node, held, recorded[node])
		for _, b := range books[node].Blocks {
			if blocks.owner(b.CIDR) != node {
				a.Disagreements = append(a.Disagreements, Disagreement{BookBlock, node + " " + b.CIDR.String(),
					fmt.Sprintf("The agent of node %s gives out addresses of block %s, which the API does not show as this node's.", node, b.CIDR),
					"If this lasts, restart the agent: it reads its blocks anew.", nil})
			}
		}
	}
	Sort(a.Disagreements)
}

func entries(b windows.Book) []windows.BookAddress {
	var out []windows.BookAddress
	for _, block := range b.Blocks {
		out = append(out, block.Addresses...)
	}
	return append(out, b.Outside...)
}

func (a *Account) compareBook(node string, held map[netip.Addr]string, recorded map[netip.Addr]Holder) {
	for address, pod := range held {
		if record, ok := recorded[address]; !ok || record.Pod != pod {
			a.Disagreements = append(a.Disagreements, Disagreement{BookUnrecorded, address.String(),
				fmt.Sprintf("On node %s, %s belongs to pod %s, and no record says so.", node, address, pod),
				fmt.Sprintf("The agent writes the record as soon as the API server takes it. See why it does not: kubectl causeway book %s.", node), nil})
		}
	}
	for address, record := range recorded {
		if held[address] == "" {
			a.Disagreements = append(a.Disagreements, Disagreement{BookMisses, address.String(),
				fmt.Sprintf("A record gives %s to pod %s on node %s, but the agent there knows nothing of it and may give the address to another pod.", address, record.Pod, node),
				"Delete the pod; if it is gone already, kubectl causeway ipam free deletes the record.", nil})
		}
	}
}
