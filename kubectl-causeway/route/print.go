package route

import (
	"fmt"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
)

// Titles stand over the legs of a path.
var Titles = map[string]string{"Request": "The packet", "Reply": "The answer", "Error": "What a node or router answered instead"}

// Print draws a PathTrace that has finished, hop by hop. wide adds times, and the rules that led to the routes.
func Print(p *text.Page, trace *v1alpha1.PathTrace, dropOnly, wide bool) {
	s := trace.Status
	if !dropOnly {
		p.Printf("%s from pod %s/%s (%s) to %s\n", trace.Spec.Protocol, trace.Namespace, trace.Spec.SourcePod, s.Source, s.Destination)
		leg, node := "", ""
		for i := range s.Hops {
			h := &s.Hops[i]
			if h.Leg != leg {
				p.Printf("\n%s: %s, %s > %s\n", Titles[h.Leg], h.Packet.Kind, h.Packet.Source, h.Packet.Destination)
				leg, node = h.Leg, ""
			}
			if h.Node != node {
				p.Printf("  %s\n", h.Node)
				node = h.Node
			}
			printHop(p, h, wide)
		}
		p.Printf("\n")
	}
	if len(s.SilentNodes) > 0 {
		p.Printf("These nodes' agents did not answer: %s.\n", strings.Join(s.SilentNodes, ", "))
	}
	colour := text.Red
	if s.End.Result == v1alpha1.PathAnswered {
		colour = text.Green
	}
	at := ""
	if s.End.Node != "" {
		at = " at node " + s.End.Node
	}
	if s.End.Cause != "" {
		at += " (" + s.End.Cause + ")"
	}
	p.Printf("%s%s. %s\n", p.Colour(colour, s.End.Result), at, s.End.Message)
}

func printHop(p *text.Page, h *v1alpha1.PathHop, wide bool) {
	arrow := map[string]string{"In": "->", "Out": "<-"}[h.Direction]
	line := fmt.Sprintf("    %s %-3s %-15s ttl %d, %d bytes", arrow, strings.ToLower(h.Direction), h.Interface, h.Packet.TTL, h.Packet.Length)
	if o := h.Packet.Outer; o != nil {
		line += fmt.Sprintf(", in %s %s > %s", o.Encapsulation, o.Source, o.Destination)
		if o.VNI != 0 {
			line += fmt.Sprintf(" (VNI %d)", o.VNI)
		}
	}
	if wide {
		line += h.Time.Format(", 15:04:05.000000")
	}
	p.Printf("%s\n", line)
	for _, more := range []struct{ word, what string }{{"NAT", h.NAT}, {"route", h.Route}} {
		if more.what != "" {
			p.Printf("           %s: %s\n", more.word, more.what)
		}
	}
	if wide && h.Rule != "" {
		p.Printf("           rule: %s\n", h.Rule)
	}
}
