// Package text writes tables, bars and colours for people. It takes words and numbers, and returns lines. It knows nothing
// of Causeway.
package text

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Colour is how a cell looks on a terminal.
type Colour string

// The colours that there are: ANSI escape sequences (ECMA-48, SGR).
const (
	Plain  Colour = ""
	Red    Colour = "\x1b[31m"
	Green  Colour = "\x1b[32m"
	Yellow Colour = "\x1b[33m"
	Bold   Colour = "\x1b[1m"

	reset = "\x1b[0m"
)

// Page is where lines go. Errors of the writer are kept until somebody asks for Err.
type Page struct {
	w       io.Writer
	colours bool
	err     error
}

// NewPage returns a page. Without colours, it writes plain text.
func NewPage(w io.Writer, colours bool) *Page { return &Page{w: w, colours: colours} }

// Err is the first error of the writer.
func (p *Page) Err() error { return p.err }

// Printf writes text.
func (p *Page) Printf(format string, args ...any) {
	if _, err := fmt.Fprintf(p.w, format, args...); err != nil && p.err == nil {
		p.err = fmt.Errorf("write the answer: %w", err)
	}
}

// Colour dresses a text in a colour, where the page has any.
func (p *Page) Colour(c Colour, s string) string {
	if !p.colours || c == Plain || s == "" {
		return s
	}
	return string(c) + s + reset
}

// Cell is one field of a table.
type Cell struct {
	Text   string
	Colour Colour
}

// Row makes plain cells of values.
func Row(values ...any) []Cell {
	var out []Cell
	for _, v := range values {
		switch v := v.(type) {
		case Cell:
			out = append(out, v)
		default:
			out = append(out, Cell{Text: fmt.Sprint(v)})
		}
	}
	return out
}

// Table writes rows below a header, in columns that are as wide as their widest cell. Empty cells are shown as "-".
func (p *Page) Table(header []string, rows [][]Cell) {
	widths := make([]int, len(header))
	var lines [][]Cell
	head := make([]Cell, len(header))
	for i, h := range header {
		head[i] = Cell{h, Bold}
	}
	for _, row := range append([][]Cell{head}, rows...) {
		for i := range row {
			if row[i].Text == "" {
				row[i].Text = "-"
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].Text))
		}
		lines = append(lines, row)
	}
	for _, row := range lines {
		var line strings.Builder
		for i, c := range row {
			line.WriteString(p.Colour(c.Colour, c.Text))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.Text)+3))
			}
		}
		p.Printf("%s\n", strings.TrimRight(line.String(), " "))
	}
}

// Bar draws how much of a whole is used, as wide as asked. Something is never drawn as nothing, and not all never as all.
func Bar(used, whole int64, width int) string {
	filled := 0
	if whole > 0 {
		filled = int(float64(used) / float64(whole) * float64(width))
	}
	if used > 0 {
		filled = max(filled, 1)
	}
	if used < whole {
		filled = min(filled, width-1)
	}
	filled = min(max(filled, 0), width)
	return strings.Repeat("█", filled) + strings.Repeat("░", width-filled)
}

// Percent writes how much of a whole is used.
func Percent(used, whole int64) string {
	if whole <= 0 {
		return ""
	}
	share := float64(used) / float64(whole) * 100
	if used > 0 && share < 1 {
		return "<1%"
	}
	return fmt.Sprintf("%d%%", int(share))
}
