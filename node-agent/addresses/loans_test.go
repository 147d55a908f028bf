package addresses

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
)

// TestALoanIsOver: a block without the loan says so, unless it is older than the loan.
func TestALoanIsOver(t *testing.T) {
	given := []addressbook.Given{{CIDR: netip.MustParsePrefix("10.0.0.5/32"), Pool: "p", ID: "a.7.0"}}
	for name, c := range map[string]struct {
		uid        string
		generation int64
		loans      []string
		gone       bool
		want       []string
	}{
		"the loan is there":             {uid: "a", generation: 7, loans: []string{"a.7.0"}},
		"the view is older":             {uid: "a", generation: 6},
		"the loan has ended":            {uid: "a", generation: 8, want: []string{"a.7.0"}},
		"the range is lent once more":   {uid: "a", generation: 8, loans: []string{"a.8.0"}, want: []string{"a.7.0"}},
		"it is another block":           {uid: "b", generation: 1, want: []string{"a.7.0"}},
		"the block is gone altogether":  {gone: true, want: []string{"a.7.0"}},
		"the old view has another loan": {uid: "a", generation: 5, loans: []string{"a.4.0"}},
	} {
		n := &neighbours{}
		if !c.gone {
			b := block("10.0.0.0/26")
			b.UID, b.Generation = c.uid, c.generation
			for _, id := range c.loans {
				b.Loans = append(b.Loans, cluster.Loan{CIDR: given[0].CIDR, ID: id})
			}
			n.blocks = append(n.blocks, b)
		}
		if got := ended(n, given); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestALoanIsWrittenDownBeforeItIsGivenUp(t *testing.T) {
	b := block("10.0.0.0/30")
	n := &neighbours{blocks: []cluster.Block{b}}
	runLedger(t, n, func(l *Ledger, _ *addressbook.Book) {
		n.taken()
		b.Loans = []cluster.Loan{{CIDR: netip.MustParsePrefix("10.0.0.3/32"), ID: "a.2.0"}}
		n.blocks = []cluster.Block{b}
		l.Settle()
		if got := n.taken(); !slices.Equal(got, []string{"save", "tell"}) || len(n.told[0].Given) != 1 {
			t.Errorf("%v, told %+v", got, n.told)
		}
	})
}
