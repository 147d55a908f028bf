package picture

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Measures of the drawing, in pixels.
const (
	margin    = 20
	boxWidth  = 146
	boxHeight = 64
	gap       = 16
	rowHeight = boxHeight + gap
	lineSpace = 18
)

// The looks of texts are attributes, not a style sheet: an SVG inside of a page may not bring one where the page's policy forbids it.
const (
	plain = ``
	title = ` font-size="18" font-weight="bold"`
	head  = ` font-size="14" font-weight="bold"`
	small = ` font-size="11" fill="#555"`
	alarm = ` font-size="11" font-weight="bold" fill="#c00"`
)

// drawing is an SVG under way. Areas lie below lines and lines below boxes and words, so that no line hides a word.
type drawing struct {
	areas, lines, top strings.Builder
	width             int
	// y is where the next thing goes.
	y int
}

// document ends the drawing.
func (d *drawing) document(label string) []byte {
	var b strings.Builder
	height := d.y + margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img" aria-label="%s">`+"\n",
		d.width, height, d.width, height, escape(label))
	fmt.Fprintf(&b, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n%s%s%s</svg>\n", d.areas.String(), d.lines.String(), d.top.String())
	return []byte(b.String())
}

func (d *drawing) addf(format string, args ...any) { fmt.Fprintf(&d.top, format+"\n", args...) }

func escape(s string) string {
	var b strings.Builder
	// A strings.Builder takes everything.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func (d *drawing) text(x, y int, look, s string) {
	d.addf(`<text x="%d" y="%d"%s>%s</text>`, x, y, look, escape(s))
}

// wrap breaks a text into lines of so many letters, between words where it can.
func wrap(s string, most int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(s) {
		for len(word) > most {
			if line != "" {
				out, line = append(out, line), ""
			}
			out, word = append(out, word[:most]), word[most:]
		}
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > most:
			out, line = append(out, line), word
		default:
			line += " " + word
		}
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most-1] + "…"
}
