package text_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/kubectl-causeway/text"
)

func TestTable(t *testing.T) {
	var b strings.Builder
	p := text.NewPage(&b, false)
	p.Table([]string{"NAME", "USED", "READY"}, [][]text.Cell{
		text.Row("default-v4", "█░", text.Cell{Text: "True", Colour: text.Green}), text.Row("x", 7, ""),
	})
	const want = "NAME         USED   READY\ndefault-v4   █░     True\nx            7      -\n"
	if b.String() != want || p.Err() != nil {
		t.Errorf("got\n%swant\n%s%v", b.String(), want, p.Err())
	}
}

// Colours must not move the columns.
func TestTableWithColours(t *testing.T) {
	var b strings.Builder
	p := text.NewPage(&b, true)
	p.Table([]string{"A", "B"}, [][]text.Cell{text.Row(text.Cell{Text: "bad", Colour: text.Red}, 1), text.Row("fine", 2)})
	const want = "\x1b[1mA\x1b[0m      \x1b[1mB\x1b[0m\n\x1b[31mbad\x1b[0m    1\nfine   2\n"
	if b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		used, whole   int64
		bar, percents string
	}{
		{0, 100, "░░░░░░░░", "0%"},
		{1, 100000, "█░░░░░░░", "<1%"},
		{50, 100, "████░░░░", "50%"},
		{99999, 100000, "███████░", "99%"},
		{100, 100, "████████", "100%"},
		{120, 100, "████████", "120%"},
		{1, 1 << 62, "█░░░░░░░", "<1%"},
		{0, 0, "░░░░░░░░", ""},
	} {
		if got := text.Bar(c.used, c.whole, 8); got != c.bar {
			t.Errorf("Bar(%d, %d) is %s, want %s", c.used, c.whole, got, c.bar)
		}
		if got := text.Percent(c.used, c.whole); got != c.percents {
			t.Errorf("Percent(%d, %d) is %s, want %s", c.used, c.whole, got, c.percents)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestWriterThatFails(t *testing.T) {
	p := text.NewPage(full{}, false)
	p.Printf("x")
	p.Printf("y")
	if p.Err() == nil || !strings.Contains(p.Err().Error(), "no space") {
		t.Errorf("the page says %v", p.Err())
	}
}
