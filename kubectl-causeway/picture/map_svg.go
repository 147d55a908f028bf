package picture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const (
	mapWidth = 1180
	// Subnets are as wide as their longest row of nodes needs, within these bounds.
	leastPerRow, mostPerRow = 3, 6
	// mostLines is how many sessions are drawn; beyond that, those that are down.
	mostLines = 150
	// trunks is how many routers have a line of their own in the gap between two columns.
	trunks = 4
)

// mapDrawing is a drawing with what the parts of a map need to know of each other.
type mapDrawing struct {
	drawing
	perRow int
	// boxes are the upper left corners of nodes and routers, by the name of a node or the address of a router.
	boxes map[string][2]int
	// sessions count those of each node.
	sessions map[string]*sessionCount
}

type sessionCount struct{ up, all int }

// SVG draws the map.
func (m Map) SVG() []byte {
	d := &mapDrawing{drawing: drawing{width: mapWidth, y: margin + lineSpace}, perRow: leastPerRow, boxes: map[string][2]int{}, sessions: count(m.Sessions)}
	nodes := 0
	for _, s := range m.Subnets {
		nodes += len(s.Nodes)
		d.perRow = min(max(d.perRow, len(s.Nodes)), mostPerRow)
	}
	label := fmt.Sprintf("Causeway: %s in %s, %s", number(nodes, "node"), number(len(m.Subnets), "subnet"), number(len(m.Pools), "pool"))
	d.text(margin, d.y, title, label)
	d.y += lineSpace + 4
	d.ways(m.Ways)
	d.note(m.Sessions)
	d.routers(m.Routers)
	d.subnets(m)
	d.lineSessions(m)
	d.pools(m)
	return d.document(label)
}

func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func count(sessions []Session) map[string]*sessionCount {
	out := map[string]*sessionCount{}
	for _, s := range sessions {
		for _, name := range []string{s.Node, s.Peer} {
			if out[name] == nil {
				out[name] = &sessionCount{}
			}
			out[name].all++
			if s.Up {
				out[name].up++
			}
		}
	}
	return out
}

// colour gives each node a colour that differs from its neighbours': hues a golden angle apart.
func colour(number int) string { return fmt.Sprintf("hsl(%d,60%%,50%%)", number*137%360) }

// wayColours are the strokes of the ways that have names; others are grey.
var wayColours = map[string]string{direct: "#888", routed: "#b60", "VXLAN": "#06c", "IPIP": "#808"}

// ways are the legend of the lines.
func (d *mapDrawing) ways(ways []Way) {
	for _, w := range ways {
		where := "inside of a subnet: "
		if w.Across {
			where = "between subnets: "
		}
		d.addf(`<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="3"%s/>`, margin, d.y-4, margin+30, d.y-4, wayColours[w.Kind], dash(w))
		d.text(margin+40, d.y, plain, fmt.Sprintf("%s%s (%s)", where, w.name(), strings.Join(w.Pools, ", ")))
		d.y += lineSpace
	}
}

func (w Way) name() string {
	if w.Kind == direct || w.Kind == routed {
		return w.Kind
	}
	return w.Kind + " tunnels"
}

// dash marks tunnels.
func dash(w Way) string {
	if w.Kind == direct || w.Kind == routed {
		return ""
	}
	return ` stroke-dasharray="8 4"`
}

// note says which sessions are lines.
func (d *mapDrawing) note(sessions []Session) {
	if len(sessions) == 0 {
		return
	}
	up := 0
	for _, s := range sessions {
		if s.Up {
			up++
		}
	}
	look := plain
	if up < len(sessions) {
		look = ` font-weight="bold" fill="#c00"`
	}
	d.addf(`<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#292" stroke-width="1.5"/>`, margin, d.y-4, margin+30, d.y-4)
	d.text(margin+40, d.y, look, fmt.Sprintf("BGP: %d of %d sessions are established. Lines are sessions with routers, and those that are down (red).", up, len(sessions)))
	d.y += lineSpace
}

func (d *mapDrawing) routers(routers []Router) {
	if len(routers) == 0 {
		return
	}
	d.y += gap
	d.text(margin, d.y, head, "routers")
	d.y += gap / 2
	for i, r := range routers {
		x, y := d.place(i)
		d.addf(`<rect x="%d" y="%d" width="%d" height="%d" rx="22" fill="#fff8e8" stroke="#b60"/>`, x, y, boxWidth, boxHeight)
		d.text(x+gap, y+20, plain, shorten(r.Address, 21))
		d.text(x+gap, y+36, small, fmt.Sprintf("AS %d", r.AS))
		d.bgp(x+gap, y+52, r.Address)
		d.boxes[r.Address] = [2]int{x, y}
	}
	d.y += d.rows(len(routers)) * rowHeight
}

// bgp says how many sessions of a node or router are established.
func (d *mapDrawing) bgp(x, y int, name string) {
	c := d.sessions[name]
	if c == nil {
		return
	}
	look := small
	if c.up < c.all {
		look = alarm
	}
	d.text(x, y, look, fmt.Sprintf("BGP %d of %d", c.up, c.all))
}

// place is where the box of that number goes, below the current line.
func (d *mapDrawing) place(i int) (x, y int) {
	return margin + gap + i%d.perRow*(boxWidth+gap), d.y + gap/2 + i/d.perRow*rowHeight
}

func (d *mapDrawing) rows(n int) int { return (n + d.perRow - 1) / d.perRow }

// right is where subnets end.
func (d *mapDrawing) right() int { return margin + d.perRow*(boxWidth+gap) + gap }

func (d *mapDrawing) subnets(m Map) {
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
		height := lineSpace + d.rows(len(s.Nodes))*rowHeight + gap/2
		fmt.Fprintf(&d.areas, `<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="#f4f7fa" stroke="#aab"/>`+"\n", margin, top, d.right()-margin, height)
		d.text(margin+2*gap, top+lineSpace, head+` stroke="#f4f7fa" stroke-width="5" paint-order="stroke"`, "subnet "+s.CIDR)
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

// buses are the ways between subnets: one line for each way, a stub to it from each subnet, and its name.
func (d *mapDrawing) buses(across []Way, stubs []int) {
	for i, w := range across {
		x := d.right() + gap + i*gap
		style := fmt.Sprintf(`stroke="%s" stroke-width="3"%s`, wayColours[w.Kind], dash(w))
		fmt.Fprintf(&d.lines, `<line x1="%d" y1="%d" x2="%d" y2="%d" %s/>`+"\n", x, stubs[0]+i*8, x, stubs[len(stubs)-1]+i*8, style)
		for _, y := range stubs {
			fmt.Fprintf(&d.lines, `<line x1="%d" y1="%d" x2="%d" y2="%d" %s/>`+"\n", d.right(), y+i*8, x, y+i*8, style)
		}
		name, _, _ := strings.Cut(w.name(), " by ")
		d.text(d.right()+gap*(len(across)+1), stubs[0]+i*lineSpace, fmt.Sprintf(` font-weight="bold" fill="%s"`, cmp.Or(wayColours[w.Kind], "#888")), name)
	}
}

func (d *mapDrawing) node(x, y int, n Node) {
	fill, stroke, label := "#fff", `stroke="#667"`, ""
	if !n.Ready {
		fill, stroke, label = "#fee", `stroke="#c00" stroke-width="2"`, ", not ready"
	}
	d.addf(`<g><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="4" fill="%s" %s/>`,
		escape(fmt.Sprintf("%s %s: %d pods in %d blocks%s", n.Name, n.Address, n.Pods, n.Blocks, label)), x, y, boxWidth, boxHeight, fill, stroke)
	d.addf(`<rect x="%d" y="%d" width="8" height="%d" fill="%s"/>`, x, y, boxHeight, colour(n.Number))
	d.text(x+14, y+17, plain, shorten(n.Name, 19))
	d.text(x+14, y+31, small, shorten(n.Address, 21))
	d.text(x+14, y+44, small, fmt.Sprintf("%s, %s", number(n.Pods, "pod"), number(n.Blocks, "block")))
	at := x + 14
	if !n.Ready {
		d.text(at, y+58, alarm, "not ready")
		at += 66
	}
	d.bgp(at, y+58, n.Name)
	d.addf(`</g>`)
	d.boxes[n.Name] = [2]int{x, y}
}

// lineSessions draws sessions with routers, and those that are down: these last, so that nothing covers them.
func (d *mapDrawing) lineSessions(m Map) {
	order := map[string]int{}
	for i, r := range m.Routers {
		order[r.Address] = i
	}
	sorted := slices.Clone(m.Sessions)
	slices.SortStableFunc(sorted, func(a, b Session) int { return downs(a) - downs(b) })
	many := len(m.Sessions) > mostLines
	drawn := 0
	for _, s := range sorted {
		router, outside := order[s.Peer]
		if s.Up && (many || !outside) || drawn >= mostLines {
			continue
		}
		drawn++
		path := d.between(s)
		if outside {
			path = d.toRouter(s, router)
		}
		state, stroke := "established", `stroke="#292" stroke-width="1.5"`
		if !s.Up {
			state, stroke = "down", `stroke="#c00" stroke-width="2" stroke-dasharray="5 3"`
		}
		fmt.Fprintf(&d.lines, `<path d="%s" fill="none" %s><title>%s</title></path>`+"\n", path, stroke,
			escape(fmt.Sprintf("BGP session of %s with %s: %s", s.Node, s.Peer, state)))
	}
}

func downs(s Session) int {
	if s.Up {
		return 0
	}
	return 1
}

// toRouter leads from the router down, along below the routers, down the gap beside the node's column, and into the node.
func (d *mapDrawing) toRouter(s Session, router int) string {
	from, to := d.boxes[s.Peer], d.boxes[s.Node]
	lane := 3 * (router % trunks)
	return fmt.Sprintf("M%d %d V%d H%d V%d H%d", from[0]+boxWidth/2+lane, from[1]+boxHeight, from[1]+boxHeight+5+lane, to[0]-gap+4+lane, to[1]+boxHeight/2+lane, to[0])
}

// between is a bow that goes round the boxes between two nodes.
func (d *mapDrawing) between(s Session) string {
	from, to := d.boxes[s.Node], d.boxes[s.Peer]
	x, y := (from[0]+to[0]+boxWidth)/2, (from[1]+to[1]+boxHeight)/2
	switch {
	case from[1] == to[1]:
		y -= 2 * (boxHeight/2 + gap/2)
	case from[0] == to[0]:
		x += 2 * (boxWidth/2 + gap/2)
	}
	return fmt.Sprintf("M%d %d Q%d %d %d %d", from[0]+boxWidth/2, from[1]+boxHeight/2, x, y, to[0]+boxWidth/2, to[1]+boxHeight/2)
}
