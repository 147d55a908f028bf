package picture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/route"
)

// Measures of a trace's drawing, in pixels; letters are counts.
const (
	laneWidth   = 330
	laneLetters = 48
	hopLine     = 15
	hopGap      = 26
	leastLanes  = 2
	// letterWidth is that of a letter of the common size, more or less: an SVG does not break lines by itself.
	letterWidth = 7
)

// traceDrawing has a lane for each node, and the hops below each other in the order of the packet.
type traceDrawing struct {
	drawing
	lanes []string
	// from is the lower edge of the hop before, in the current leg.
	from *point
}

type point struct{ x, y, lane int }

// Trace draws a path hop by hop, as far as it is known, and its end.
func Trace(trace *v1alpha1.PathTrace) []byte {
	s := trace.Status
	d := &traceDrawing{drawing: drawing{y: margin + lineSpace}, lanes: lanes(s)}
	d.width = 2*margin + max(len(d.lanes), leastLanes)*(laneWidth+gap) - gap
	label := fmt.Sprintf("%s from pod %s/%s to %s", trace.Spec.Protocol, trace.Namespace, trace.Spec.SourcePod, target(trace))
	d.words(margin, title, label, (d.width-2*margin)/10)
	if s.End == nil {
		d.words(margin, plain, progress(s.Phase), laneLetters*2)
	} else {
		d.end(s.End)
	}
	if len(s.SilentNodes) > 0 {
		d.words(margin, ` font-weight="bold" fill="#b60"`, "These nodes' agents did not answer: "+strings.Join(s.SilentNodes, ", ")+".", laneLetters*2)
	}
	top := d.y
	d.y += 2 * lineSpace
	d.path(trace)
	for i, name := range d.lanes {
		x := d.laneX(i)
		fmt.Fprintf(&d.areas, `<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="#f4f7fa" stroke="#aab"/>`+"\n", x, top, laneWidth, d.y-top)
		d.text(x+gap/2, top+lineSpace, head, "node "+shorten(name, 36))
	}
	return d.document(label)
}

// target is what was asked for, and the address if that says more.
func target(trace *v1alpha1.PathTrace) string {
	to, name := trace.Spec.Destination, ""
	switch {
	case to.Pod != "":
		name = "pod " + trace.Namespace + "/" + to.Pod
	case to.Service != "":
		name = "Service " + cmp.Or(to.ServiceNamespace, trace.Namespace) + "/" + to.Service
	}
	address := cmp.Or(trace.Status.Destination, to.Address)
	if name == "" || address == "" {
		return name + address
	}
	return fmt.Sprintf("%s (%s)", name, address)
}

func progress(phase string) string {
	switch phase {
	case v1alpha1.TracePending:
		return "The trace waits: four others run."
	case v1alpha1.TraceRunning:
		return "The agents look for the packet…"
	}
	return "The trace waits for the controller…"
}

// lanes are the nodes of the hops, in their order, and the one where the path ends.
func lanes(s v1alpha1.PathTraceStatus) []string {
	var out []string
	add := func(node string) {
		if node != "" && !slices.Contains(out, node) {
			out = append(out, node)
		}
	}
	for _, h := range s.Hops {
		add(h.Node)
	}
	if s.End != nil {
		add(s.End.Node)
	}
	return out
}

func (d *traceDrawing) laneX(lane int) int { return margin + lane*(laneWidth+gap) }

// words writes a text in as many lines as it needs.
func (d *traceDrawing) words(x int, look, s string, most int) {
	for _, line := range wrap(s, most) {
		d.text(x, d.y, look, line)
		d.y += lineSpace
	}
}

// endColours are those of the results; all others are red.
var endColours = map[string]string{v1alpha1.PathAnswered: "#282", v1alpha1.PathDelivered: "#b60"}

func endColour(result string) string { return cmp.Or(endColours[result], "#c00") }

// end says where the path ended and why, before all else.
func (d *traceDrawing) end(e *v1alpha1.PathEnd) {
	headline := e.Result
	if e.Node != "" {
		headline += " at node " + e.Node
	}
	if e.Cause != "" {
		headline += " (" + e.Cause + ")"
	}
	message := wrap(e.Message, (d.width-2*margin-2*gap)/letterWidth)
	height := (len(message)+1)*lineSpace + gap - 2
	d.addf(`<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="#fff" stroke="%s" stroke-width="2"/>`, margin, d.y-gap/2, d.width-2*margin, height, endColour(e.Result))
	d.y += lineSpace - gap/2 + 2
	d.text(margin+gap, d.y, fmt.Sprintf(` font-size="14" font-weight="bold" fill="%s"`, endColour(e.Result)), headline)
	for _, line := range message {
		d.y += lineSpace
		d.text(margin+gap, d.y, plain, line)
	}
	d.y += gap + lineSpace
}

// path draws the hops of each leg, with the source before the first, and the destination and the source again where the packet got there.
func (d *traceDrawing) path(trace *v1alpha1.PathTrace) {
	s := trace.Status
	source := fmt.Sprintf("pod %s/%s", trace.Namespace, trace.Spec.SourcePod)
	leg, lost := "", lostAfter(s)
	for i := range s.Hops {
		h := &s.Hops[i]
		if h.Leg != leg {
			leg, d.from = h.Leg, nil
			d.legHead(h)
			if i == 0 {
				d.pill(slices.Index(d.lanes, h.Node), source)
			}
		}
		d.hop(h)
		switch {
		case !endsLeg(s.Hops, i):
		case leg == legRequest && arrived(s):
			d.pill(d.from.lane, h.Packet.Destination)
		case leg == legReply && s.End != nil && s.End.Result == v1alpha1.PathAnswered:
			d.pill(d.from.lane, source)
		}
		if i == lost {
			d.cross(d.from.lane)
		}
	}
	if lost == len(s.Hops) {
		d.cross(slices.Index(d.lanes, s.End.Node))
	}
	d.y += gap
}

func endsLeg(hops []v1alpha1.PathHop, i int) bool {
	return i == len(hops)-1 || hops[i+1].Leg != hops[i].Leg
}

// lostAfter is the hop after which the packet was lost or refused: the last of a leg, on the node that is named. If there is none,
// it is the number of hops, and -1 if nothing was lost.
func lostAfter(s v1alpha1.PathTraceStatus) int {
	e := s.End
	if e == nil || e.Node == "" || e.Result == v1alpha1.PathAnswered || e.Result == v1alpha1.PathDelivered {
		return -1
	}
	for i, h := range slices.Backward(s.Hops) {
		if h.Node == e.Node && endsLeg(s.Hops, i) {
			return i
		}
	}
	return len(s.Hops)
}

const (
	legRequest = "Request"
	legReply   = "Reply"
)

// arrived says whether the packet came to its destination.
func arrived(s v1alpha1.PathTraceStatus) bool {
	answered := slices.ContainsFunc(s.Hops, func(h v1alpha1.PathHop) bool { return h.Leg == legReply })
	return answered || s.End != nil && (s.End.Result == v1alpha1.PathAnswered || s.End.Result == v1alpha1.PathDelivered)
}

func (d *traceDrawing) legHead(h *v1alpha1.PathHop) {
	d.y += lineSpace
	d.addf(`<rect x="%d" y="%d" width="%d" height="22" fill="#fff"/>`, margin, d.y-15, d.width-2*margin)
	d.text(margin+gap/2, d.y, ` font-weight="bold" fill="#335"`, fmt.Sprintf("%s: %s, %s → %s", route.Titles[h.Leg], h.Packet.Kind, h.Packet.Source, h.Packet.Destination))
	d.y += gap / 2
}

// pill is an end of the path: a pod, or an address.
func (d *traceDrawing) pill(lane int, name string) {
	x := d.laneX(lane) + gap
	y := d.arrive(lane, "#335")
	d.addf(`<rect x="%d" y="%d" width="%d" height="24" rx="12" fill="#eef" stroke="#335"/>`, x, y, laneWidth-2*gap)
	d.text(x+gap, y+16, plain, shorten(name, laneLetters-4))
	d.leave(lane, y+24)
}

// hopText is a line of a hop's box.
type hopText struct{ look, text string }

func hopTexts(h *v1alpha1.PathHop) []hopText {
	out := []hopText{{` font-weight="bold"`, map[string]string{"In": "in by ", "Out": "out by "}[h.Direction] + h.Interface}}
	out = append(out, hopText{small, fmt.Sprintf("TTL %d, %d bytes", h.Packet.TTL, h.Packet.Length)})
	if o := h.Packet.Outer; o != nil {
		line := fmt.Sprintf("in %s %s → %s", o.Encapsulation, o.Source, o.Destination)
		if o.VNI != 0 {
			line += fmt.Sprintf(", VNI %d", o.VNI)
		}
		out = append(out, lines(fmt.Sprintf(` font-size="11" font-weight="bold" fill="%s"`, cmp.Or(wayColours[o.Encapsulation], "#555")), line)...)
	}
	if h.NAT != "" {
		out = append(out, lines(` font-size="11" fill="#808"`, "NAT: "+h.NAT)...)
	}
	if h.Route != "" {
		out = append(out, lines(small, "route: "+h.Route)...)
	}
	return out
}

func lines(look, s string) []hopText {
	var out []hopText
	for _, line := range wrap(s, laneLetters) {
		out = append(out, hopText{look, line})
	}
	return out
}

func (d *traceDrawing) hop(h *v1alpha1.PathHop) {
	lane := slices.Index(d.lanes, h.Node)
	texts := hopTexts(h)
	height := len(texts)*hopLine + 8
	y := d.arrive(lane, "#335")
	x := d.laneX(lane) + gap/2
	d.addf(`<g><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="4" fill="#fff" stroke="#667"/>`,
		escape(fmt.Sprintf("node %s, %s, rule %s", h.Node, h.Time.UTC().Format("15:04:05.000000"), cmp.Or(h.Rule, "not known"))), x, y, laneWidth-gap, height)
	for i, t := range texts {
		d.text(x+gap/2, y+hopLine*(i+1), t.look, t.text)
	}
	d.addf("</g>")
	d.leave(lane, y+height)
}

// cross is where the packet is lost.
func (d *traceDrawing) cross(lane int) {
	y := d.arrive(lane, "#c00")
	x := d.laneX(lane) + laneWidth/2
	d.addf(`<circle cx="%d" cy="%d" r="12" fill="#c00"/><path d="M%d %dl10 10m0 -10l-10 10" stroke="#fff" stroke-width="3"/>`, x, y+12, x-5, y+7)
	d.leave(lane, y+24)
}

// arrive draws the arrow from what came before in this leg, and returns where the next thing begins.
func (d *traceDrawing) arrive(lane int, stroke string) int {
	x, y := d.laneX(lane)+laneWidth/2, d.y+gap/2
	if d.from != nil {
		y = d.y + hopGap
		bend := d.from.y + hopGap/2 - 2
		fmt.Fprintf(&d.lines, `<path d="M%d %dV%dH%dV%d" fill="none" stroke="%s" stroke-width="2"/><path d="M%d %dl5 -8h-10z" fill="%s"/>`+"\n",
			d.from.x, d.from.y, bend, x, y-6, stroke, x, y, stroke)
	}
	return y
}

// leave notes where the arrow to the next thing begins.
func (d *traceDrawing) leave(lane, y int) {
	d.from, d.y = &point{x: d.laneX(lane) + laneWidth/2, y: y, lane: lane}, y
}
