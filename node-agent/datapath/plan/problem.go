package plan

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Reason says what kind of problem keeps a pool from working in full.
type Reason string

const (
	// ModuleMissing: the kernel lacks what an encapsulation or the filter needs.
	ModuleMissing Reason = "ModuleMissing"
	// TouchesInfrastructure: a pool, block or address would cover or lie in a network that the cluster stands on.
	TouchesInfrastructure Reason = "TouchesInfrastructure"
	// AddressMissing: a node has no address that an encapsulation could use.
	AddressMissing Reason = "AddressMissing"
	// AddressShared: two nodes have the same address.
	AddressShared Reason = "AddressShared"
	// FamilyNotCarried: an encapsulation can't carry packets of the pool's family.
	FamilyNotCarried Reason = "FamilyNotCarried"
	// UnknownEncapsulation: this agent is older than the pool's encapsulation.
	UnknownEncapsulation Reason = "UnknownEncapsulation"
	// PoolMissing: a block's pool does not exist.
	PoolMissing Reason = "PoolMissing"
	// BlocksOverlap: another node's block lies in one of this node's.
	BlocksOverlap Reason = "BlocksOverlap"
	// AddressTwice: two pods have the same address.
	AddressTwice Reason = "AddressTwice"
	// MTUTooSmall: the underlay's MTU leaves less than IPv6 needs.
	MTUTooSmall Reason = "MTUTooSmall"
)

// Problem is something that a pool, or the node, needs and does not have, or that is refused.
type Problem struct {
	Reason Reason
	// Pool is empty where the node as a whole is meant.
	Pool          string
	Encapsulation v1alpha1.Encapsulation
	// Module is the kernel module that is missing, if that is the problem.
	Module  string
	Message string
}

func compareProblems(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Module, b.Module), cmp.Compare(a.Message, b.Message),
		cmp.Compare(a.Encapsulation, b.Encapsulation), cmp.Compare(a.Reason, b.Reason))
}

// Problems returns all problems, sorted. One that several blocks have is there once.
func (p *Planner) Problems() []Problem {
	all := slices.Clone(p.fixed.Problems)
	for _, list := range p.problems {
		all = append(all, list...)
	}
	all = append(all, p.podProblems...)
	slices.SortFunc(all, compareProblems)
	return slices.Compact(all)
}

// Refused returns the learned routes that must not get into the kernel, sorted.
func (p *Planner) Refused() []Refused {
	out := make([]Refused, 0, len(p.refused))
	for prefix, message := range p.refused {
		out = append(out, Refused{prefix, message})
	}
	slices.SortFunc(out, func(a, b Refused) int { return ComparePrefixes(a.Prefix, b.Prefix) })
	return out
}

// infrastructure returns the problem of a destination that would touch what the cluster stands on.
func (p *Planner) infrastructure(dst netip.Prefix, pool, what, consequence string) (Problem, bool) {
	hits := p.hits(dst)
	if len(hits) == 0 {
		return Problem{}, false
	}
	return Problem{Reason: TouchesInfrastructure, Pool: pool, Message: what + " " + consequence + ": it would cover or lie in " + describe(hits) + "."}, true
}
