package picture

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
)

// Measures of the drawing, in pixels.
const (
	width     = 1180
	margin    = 20
	boxWidth  = 146
	boxHeight = 50
	gap       = 16
	perRow    = 6
	rowHeight = boxHeight + gap
	lineSpace = 18
	// busX is where the lines between subnets run.
	busX = margin + perRow*(boxWidth+gap) + 2*gap
	cell = 10
	// mostCells is the largest pool that is drawn whole; of a larger one, the blocks that nodes own are drawn.
	mostCells = 4096
	// mostLines is how many sessions are drawn; beyond that, those that are down.
	mostLines = 150
)

// drawing is an SVG under way. y is where the next thing goes.
type drawing struct {
	b strings.Builder
	y int
	// at are the middles of boxes, by the name of a node or the address of a router.
	at map[string][2]int
}

// SVG draws the map.
func (m Map) SVG() []byte {
	d := &drawing{y: margin + lineSpace, at: map[string][2]int{}}
	d.text(margin, d.y, "title", "Causeway")
	d.y += lineSpace
	d.ways(m.Ways)
	d.routers(m.Routers)
	d.subnets(m)
	d.sessions(m.Sessions)
	for _, p := range m.Pools {
		d.pool(p, numbers(m))
	}
	return []byte(fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<style>.title{font-size:18px;font-weight:bold}.head{font-size:14px;font-weight:bold}.small{font-size:10px;fill:#555}</style>
<rect width="100%%" height="100%%" fill="#fff"/>
%s</svg>
`, width, d.y+margin, width, d.y+margin, d.b.String()))
}

func (d *drawing) addf(format string, args ...any) { fmt.Fprintf(&d.b, format+"\n", args...) }

func escape(s string) string {
	var b strings.Builder
	// A strings.Builder takes everything.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func (d *drawing) text(x, y int, class, s string) {
	d.addf(`<text x="%d" y="%d" class="%s">%s</text>`, x, y, class, escape(s))
}

// colour gives each node a colour that differs from its neighbours': hues a golden angle apart.
func colour(number int) string { return fmt.Sprintf("hsl(%d,60%%,50%%)", number*137%360) }

// wayColours are the strokes of the ways that have names; others are grey.
var wayColours = map[string]string{direct: "#888", routed: "#b60", "VXLAN": "#06c", "IPIP": "#808"}

// ways are the legend of the lines.
func (d *drawing) ways(ways []Way) {
	for _, w := range ways {
		where := "inside of a subnet: "
		if w.Across {
			where = "between subnets: "
		}
		what := w.Kind
		if w.Kind != direct && w.Kind != routed {
			what = w.Kind + " tunnels"
		}
		d.addf(`<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="3"%s/>`, margin, d.y-4, margin+30, d.y-4, wayColours[w.Kind], dash(w))
		d.text(margin+40, d.y, "", fmt.Sprintf("%s%s (%s)", where, what, strings.Join(w.Pools, ", ")))
		d.y += lineSpace
	}
}

// dash marks tunnels.
func dash(w Way) string {
	if w.Kind == direct || w.Kind == routed {
		return ""
	}
	return ` stroke-dasharray="8 4"`
}

func (d *drawing) routers(routers []Router) {
	if len(routers) == 0 {
		return
	}
	d.y += gap
	d.text(margin, d.y, "head", "Routers")
	d.y += gap / 2
	for i, r := range routers {
		x, y := d.place(i)
		d.addf(`<rect x="%d" y="%d" width="%d" height="%d" rx="22" fill="#fff8e8" stroke="#b60"/>`, x, y, boxWidth, boxHeight)
		d.text(x+gap, y+20, "", r.Address)
		d.text(x+gap, y+36, "small", fmt.Sprintf("AS %d", r.AS))
		d.at[r.Address] = [2]int{x + boxWidth/2, y + boxHeight}
	}
	d.y += rows(len(routers)) * rowHeight
}

// place is where the box of that number goes, below the current line.
func (d *drawing) place(i int) (x, y int) {
	return margin + gap + i%perRow*(boxWidth+gap), d.y + gap/2 + i/perRow*rowHeight
}

func rows(n int) int { return (n + perRow - 1) / perRow }

func (d *drawing) subnets(m Map) {
	var across []Way
	for _, w := range m.Ways {
		if w.Across && len(m.Subnets) > 1 {
			across = append(across, w)
		}
	}
	var stubs []int
	for _, s := range m.Subnets {
		d.y += gap
		top := d.y
		height := lineSpace + rows(len(s.Nodes))*rowHeight + gap
		d.addf(`<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="#f4f7fa" stroke="#aab"/>`, margin, top, perRow*(boxWidth+gap)+gap, height)
		d.text(margin+gap/2, top+lineSpace, "head", "subnet "+s.CIDR)
		d.y = top + lineSpace
		for i, n := range s.Nodes {
			x, y := d.place(i)
			d.node(x, y, n)
		}
		d.y = top + height
		stubs = append(stubs, top+height/2)
	}
	d.buses(across, stubs)
	d.y += gap
}

// buses are the ways between subnets: one line for each way, and a stub to it from each subnet.
func (d *drawing) buses(across []Way, stubs []int) {
	for i, w := range across {
		x := busX + i*gap
		d.addf(`<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="3"%s/>`, x, stubs[0]+i*6, x, stubs[len(stubs)-1]+i*6, wayColours[w.Kind], dash(w))
		for _, y := range stubs {
			d.addf(`<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="3"%s/>`, busX-gap, y+i*6, x, y+i*6, wayColours[w.Kind], dash(w))
		}
	}
}

func (d *drawing) node(x, y int, n Node) {
	stroke, label := "#667", ""
	if !n.Ready {
		stroke, label = "#c00", ", not ready"
	}
	d.addf(`<g><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="4" fill="#fff" stroke="%s"/>`,
		escape(fmt.Sprintf("%s %s: %d pods in %d blocks%s", n.Name, n.Address, n.Pods, n.Blocks, label)), x, y, boxWidth, boxHeight, stroke)
	d.addf(`<rect x="%d" y="%d" width="8" height="%d" fill="%s"/>`, x, y, boxHeight, colour(n.Number))
	d.text(x+14, y+17, "", shorten(n.Name, 19))
	d.text(x+14, y+31, "small", n.Address)
	facts := fmt.Sprintf("%d pods, %d blocks", n.Pods, n.Blocks)
	if !n.Ready {
		facts = "not ready"
	}
	d.text(x+14, y+44, "small", facts)
	d.addf(`</g>`)
	d.at[n.Name] = [2]int{x + boxWidth - 12, y + boxHeight/2}
}

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most-1] + "…"
}

// sessions are drawn over the boxes, green where they are up and red where they are down.
func (d *drawing) sessions(sessions []Session) {
	up := 0
	for _, s := range sessions {
		if s.Up {
			up++
		}
	}
	if len(sessions) == 0 {
		return
	}
	drawn := 0
	for _, s := range sessions {
		from, to := d.at[s.Node], d.at[s.Peer]
		if s.Up && len(sessions) > mostLines || drawn >= mostLines {
			continue
		}
		drawn++
		stroke := `stroke="#292" stroke-opacity="0.6"`
		if !s.Up {
			stroke = `stroke="#c00" stroke-dasharray="4 3"`
		}
		d.addf(`<path d="M%d %d Q%d %d %d %d" fill="none" %s><title>%s</title></path>`, from[0], from[1], (from[0]+to[0])/2+30, (from[1]+to[1])/2-10, to[0], to[1],
			stroke, escape(fmt.Sprintf("BGP session of %s with %s: %s", s.Node, s.Peer, map[bool]string{true: "established", false: "down"}[s.Up])))
	}
	note := fmt.Sprintf("BGP: %d of %d sessions are established (green; those that are down are red).", up, len(sessions))
	if drawn < len(sessions) {
		note += fmt.Sprintf(" %d are drawn.", drawn)
	}
	d.text(margin, d.y+4, "", note)
	d.y += lineSpace
}

// numbers gives each node's number by its name.
func numbers(m Map) map[string]int {
	out := map[string]int{}
	for _, s := range m.Subnets {
		for _, n := range s.Nodes {
			out[n.Name] = n.Number
		}
	}
	return out
}

// pool draws a cell for each block: the node's colour, the stronger the fuller.
func (d *drawing) pool(p addresses.Pool, nodes map[string]int) {
	d.y += gap
	d.text(margin, d.y, "head", fmt.Sprintf("pool %s %s", p.Name, p.CIDR))
	d.y += lineSpace
	cells, columns := p.MostBlocks, int64(64)
	facts := fmt.Sprintf("%d of %d addresses used, %d of %d blocks owned", p.Used, p.Capacity, len(p.Blocks), p.MostBlocks)
	if cells > mostCells {
		facts = fmt.Sprintf("%d addresses used, %d blocks owned; the pool has room for so many that only these are drawn", p.Used, len(p.Blocks))
		cells = min(int64(len(p.Blocks)), mostCells)
	}
	d.text(margin, d.y, "", facts)
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
