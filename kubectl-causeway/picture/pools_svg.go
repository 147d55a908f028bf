package picture

import (
	"fmt"

	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
)

const (
	cell = 10
	// mostCells is the largest pool that is drawn whole; of a larger one, the blocks that nodes own are drawn.
	mostCells = 4096
)

// pools draws each pool.
func (d *mapDrawing) pools(m Map) {
	if len(m.Pools) == 0 {
		return
	}
	nodes := map[string]int{}
	for _, s := range m.Subnets {
		for _, n := range s.Nodes {
			nodes[n.Name] = n.Number
		}
	}
	d.y += gap
	d.text(margin, d.y, small, "Each cell is a block, in the colour of its node: the fuller the stronger. Light grey is free.")
	for _, p := range m.Pools {
		d.pool(p, nodes)
	}
}

// pool draws a cell for each block: the node's colour, the stronger the fuller.
func (d *mapDrawing) pool(p addresses.Pool, nodes map[string]int) {
	d.y += gap + 6
	d.text(margin, d.y, head, fmt.Sprintf("pool %s %s", p.Name, p.CIDR))
	d.y += lineSpace
	cells, columns := p.MostBlocks, int64(64)
	facts := fmt.Sprintf("%d of %d addresses used, %d of %d blocks owned", p.Used, p.Capacity, len(p.Blocks), p.MostBlocks)
	if cells > mostCells {
		facts = fmt.Sprintf("%d addresses used, %d blocks owned; the pool has room for so many that only these are drawn", p.Used, len(p.Blocks))
		cells = min(int64(len(p.Blocks)), mostCells)
	}
	d.text(margin, d.y, plain, facts)
	d.y += gap / 2
	if cells == 0 {
		return
	}
	columns = min(columns, cells)
	lines := (cells + columns - 1) / columns
	d.addf(`<rect x="%d" y="%d" width="%d" height="%d" fill="#eee"/>`, margin, d.y, columns*cell, lines*cell)
	for i, b := range p.Blocks {
		at := int64(i)
		if p.MostBlocks <= mostCells {
			at = b.Position(p)
		}
		if at < 0 || at >= cells {
			continue
		}
		fill, opacity := "#999", 0.3
		if n, ok := nodes[b.Node]; ok {
			fill = colour(n)
		}
		if b.Capacity > 0 {
			opacity += 0.7 * float64(b.Used) / float64(b.Capacity)
		}
		d.addf(`<rect x="%d" y="%d" width="%d" height="%d" fill="%s" fill-opacity="%.2f"><title>%s</title></rect>`,
			margin+at%columns*cell, int64(d.y)+at/columns*cell, cell-1, cell-1, fill, min(opacity, 1), escape(fmt.Sprintf("%s of %s: %d of %d used", b.CIDR, b.Node, b.Used, b.Capacity)))
	}
	d.y += int(lines)*cell + gap
}
