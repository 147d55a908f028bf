package addresses

import (
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
)

// ownBlocks returns the node's blocks as the book is to know them, and the ranges that it has of those of other nodes.
func ownBlocks(v View) []addressbook.Block {
	var own []addressbook.Block
	for _, b := range v.OwnBlocks() {
		block := addressbook.Block{CIDR: b.CIDR, Pool: b.Pool, Terminating: b.Terminating, UID: b.UID, Loan: b.Loan, Fixed: b.Fixed}
		for _, l := range b.Loans {
			block.Loans = append(block.Loans, addressbook.Loan{CIDR: l.CIDR, ID: l.ID, Granted: l.Granted})
		}
		own = append(own, block)
	}
	return own
}

// ended returns which of the loans that the node has given up are over.
func ended(v View, given []addressbook.Given) []string {
	if len(given) == 0 {
		return nil
	}
	bits := map[string]int{}
	for _, p := range v.Pools() {
		bits[p.Route.Name] = p.Object.Spec.BlockBits()
	}
	var out []string
	for _, g := range given {
		if isOver(v, g, bits[g.Pool]) {
			out = append(out, g.ID)
		}
	}
	return out
}

// isOver reports whether the view's block lacks a loan because the loan is over. A view of an agent that has just started may be so old
// that the loan has not begun yet.
func isOver(v View, g addressbook.Given, bits int) bool {
	around, err := g.CIDR.Addr().Prefix(bits)
	if err != nil || bits == 0 {
		return true // the pool is gone, and with it all of its blocks
	}
	b, known := v.Block(around)
	if !known {
		return true
	}
	uid, generation := loanOf(g.ID)
	current := b.UID != uid || b.Generation >= generation
	return current && !slices.ContainsFunc(b.Loans, func(l cluster.Loan) bool { return l.ID == g.ID })
}

// loanOf reads a loan's id: the block's UID, its generation when the loan came, and a number.
func loanOf(id string) (string, int64) {
	uid, rest, _ := strings.Cut(id, ".")
	text, _, _ := strings.Cut(rest, ".")
	generation, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return "", 0 // The API admits none.
	}
	return uid, generation
}
