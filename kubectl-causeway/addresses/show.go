// Package addresses says whose the cluster's addresses are, and where the objects disagree about it. It takes objects and
// returns values; it does no I/O.
package addresses

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// ShowKinds are what Show wants to see. Where there are NodeNetworks too, it names the groups of aggregates.
var ShowKinds = []objects.Kind{objects.IPPools, objects.IPBlocks, objects.WorkloadEndpoints}

// Pool is a pool with its blocks.
type Pool struct {
	Name     string `json:"name"`
	CIDR     string `json:"cidr"`
	Used     int64  `json:"used"`
	Capacity int64  `json:"capacity"`
	// Remembered is the number of addresses that no pod has and that are remembered for pods of StatefulSets.
	Remembered int64   `json:"remembered,omitempty"`
	Blocks     []Block `json:"blocks"`
	// MostBlocks is how many blocks the pool can be cut into.
	MostBlocks int64 `json:"mostBlocks"`
	// Aggregates are the prefixes that the blocks lie in, if the pool has aggregation.
	Aggregates []Aggregate `json:"aggregates,omitempty"`
}

// Block is a block with its owner and those who have addresses in it.
type Block struct {
	CIDR     string   `json:"cidr"`
	Node     string   `json:"node"`
	Used     int64    `json:"used"`
	Capacity int64    `json:"capacity"`
	Holders  []Holder `json:"holders,omitempty"`
	// Leaving says that the block is being deleted.
	Leaving bool `json:"leaving,omitempty"`
	// Lent are the parts that other nodes have.
	Lent []Lent `json:"lent,omitempty"`

	prefix netip.Prefix
}

// Lent is a part of a block that another node has.
type Lent struct {
	CIDR netip.Prefix `json:"cidr"`
	Node string       `json:"node"`
}

// lentOf reads what a block has lent. What its node has not given up yet is not lent.
func lentOf(b *v1alpha1.IPBlock) (out []Lent) {
	for _, l := range b.Spec.Lent {
		if p, err := netip.ParsePrefix(l.CIDR); err == nil && l.Granted {
			out = append(out, Lent{p, l.Node})
		}
	}
	return out
}

// NodeOf returns the node that may give an address of the block to a pod.
func (b Block) NodeOf(a netip.Addr) string {
	for _, l := range b.Lent {
		if l.CIDR.Contains(a) {
			return l.Node
		}
	}
	return b.Node
}

// Holder is who has an address.
type Holder struct {
	Address netip.Addr `json:"address"`
	// Pod is "namespace/name", Record the name of the WorkloadEndpoint.
	Pod    string `json:"pod"`
	Record string `json:"record"`
	Node   string `json:"node"`
}

// Show returns all pools, with blocks and holders, sorted by name and by address.
func Show(c *objects.Cluster) []Pool {
	var out []Pool
	at := map[string]int{}
	for i := range c.Pools.Items {
		p := &c.Pools.Items[i]
		out = append(out, Pool{Name: p.Name, CIDR: p.Spec.CIDR, Capacity: p.Spec.Capacity(), MostBlocks: p.Spec.Blocks(), Blocks: []Block{}})
	}
	slices.SortFunc(out, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	for i := range out {
		at[out[i].Name] = i
	}
	blocks := newIndex(c)
	used := map[netip.Addr]bool{}
	for _, h := range holders(c) {
		used[h.Address] = true
		if b := blocks.find(h.Address); b != nil {
			b.Holders = append(b.Holders, h)
			b.Used++
		}
	}
	for _, b := range blocks.all {
		i, ok := at[b.pool]
		if !ok {
			continue
		}
		out[i].Blocks = append(out[i].Blocks, b.Block)
		out[i].Used += b.Used
	}
	for i := range c.Pools.Items {
		p := &c.Pools.Items[i]
		out[at[p.Name]].Remembered = expected(c, p.Name, used)
		out[at[p.Name]].Aggregates = aggregates(c, p, blocks.all)
	}
	return out
}

// holders are all addresses of all records, sorted.
func holders(c *objects.Cluster) []Holder {
	var out []Holder
	for i := range c.Endpoints.Items {
		e := &c.Endpoints.Items[i]
		for _, text := range e.Spec.Addresses {
			if p, err := netip.ParsePrefix(text); err == nil {
				out = append(out, Holder{Address: p.Addr(), Pod: e.Namespace + "/" + e.Spec.Pod, Record: e.Name, Node: e.Spec.Node})
			}
		}
	}
	slices.SortFunc(out, func(a, b Holder) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Record, b.Record))
	})
	return out
}

// indexed is a block with the name of its pool.
type indexed struct {
	Block
	pool string
}

// index finds the block of an address. Blocks lie apart from each other, as a rule; where they overlap, the narrower one is found.
type index struct {
	all  []*indexed // sorted by address, then by length
	bits []int      // the lengths that there are, longest first
	by   map[netip.Prefix]*indexed
	lent map[netip.Prefix]string // which node has each part of a block that is lent
}

// owner returns the node that has a block, or a part of one; "" for none.
func (x *index) owner(p netip.Prefix) string {
	if b := x.by[p]; b != nil {
		return b.Node
	}
	return x.lent[p]
}

func newIndex(c *objects.Cluster) *index {
	x := &index{by: map[netip.Prefix]*indexed{}, lent: map[netip.Prefix]string{}}
	for i := range c.Blocks.Items {
		b := &c.Blocks.Items[i]
		p, err := netip.ParsePrefix(b.Spec.CIDR)
		if err != nil {
			continue
		}
		block := &indexed{pool: b.Spec.Pool, Block: Block{
			CIDR: b.Spec.CIDR, Node: b.Spec.Node, Capacity: v1alpha1.UsableAddresses(p), Leaving: !b.DeletionTimestamp.IsZero(), Lent: lentOf(b), prefix: p,
		}}
		x.all, x.by[p] = append(x.all, block), block
		for _, l := range block.Lent {
			x.lent[l.CIDR] = l.Node
		}
		if !slices.Contains(x.bits, p.Bits()) {
			x.bits = append(x.bits, p.Bits())
		}
	}
	slices.SortFunc(x.bits, func(a, b int) int { return b - a })
	slices.SortFunc(x.all, func(a, b *indexed) int { return a.prefix.Compare(b.prefix) })
	return x
}

func (x *index) find(a netip.Addr) *indexed {
	for _, bits := range x.bits {
		if p, err := a.Prefix(bits); err == nil && x.by[p] != nil {
			return x.by[p]
		}
	}
	return nil
}

// Position is the block's number in its pool, from 0; -1 if it lies outside or too far in to be counted.
func (b Block) Position(p Pool) int64 {
	pool, err := netip.ParsePrefix(p.CIDR)
	if err != nil || !pool.Contains(b.prefix.Addr()) || b.prefix.Bits() < pool.Bits() || b.prefix.Bits()-pool.Bits() >= 63 {
		return -1
	}
	var n int64
	bytes := b.prefix.Addr().AsSlice()
	for i := pool.Bits(); i < b.prefix.Bits(); i++ {
		n = n<<1 | int64(bytes[i/8]>>(7-i%8)&1)
	}
	return n
}
