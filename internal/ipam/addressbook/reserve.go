package addressbook

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/wish"
)

// ErrUnknownNamespace says that a pod's namespace is not known yet, and so not either which pools may serve the pod.
var ErrUnknownNamespace = errors.New("the pod's namespace is not known yet")

// FullError says that every pool that may serve a pod has nothing left.
type FullError struct {
	// Pools have no block left.
	Pools []string
	// AtLimit are pools of which the node has as many blocks as one node may have.
	AtLimit []BlockLimit
}

// BlockLimit is how many blocks of a pool one node may have.
type BlockLimit struct {
	Pool   string
	Blocks int
}

func (e *FullError) Error() string {
	names := slices.Clone(e.Pools)
	for _, l := range e.AtLimit {
		names = append(names, l.Pool)
	}
	return "no free address in " + strings.Join(names, ", ")
}

// add notes that a pool has nothing left.
func (e *FullError) add(p Pool, atLimit bool) {
	if atLimit {
		e.AtLimit = append(e.AtLimit, BlockLimit{Pool: p.Name, Blocks: p.MaxBlocks})
		return
	}
	e.Pools = append(e.Pools, p.Name)
}

// WaitError says that a block was asked for and did not come in time.
type WaitError struct {
	Pool  string
	Cause error
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("no block of pool %s came in time: %v", e.Pool, e.Cause)
}

// Unwrap returns the context's error.
func (e *WaitError) Unwrap() error { return e.Cause }

// AddressError says that a pod asks for an address that no pool has which may serve it.
type AddressError struct{ Address netip.Addr }

func (e *AddressError) Error() string {
	return fmt.Sprintf("no IPPool that may serve the pod holds the address %s, or the pod asks for two of one family", e.Address)
}

// InUseError says that the address that a pod asks for is another pod's, which may go.
type InUseError struct {
	Address      netip.Addr
	Pool, Holder string
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("address %s of IPPool %s is in use by %s", e.Address, e.Pool, e.Holder)
}

// ElsewhereError says that the address that a pod asks for is not this node's yet. The controller was asked for it.
type ElsewhereError struct {
	Address netip.Addr
	Pool    string
}

func (e *ElsewhereError) Error() string {
	return fmt.Sprintf("address %s of IPPool %s has not come to this node yet", e.Address, e.Pool)
}

// NotHereError says that the address that a pod asks for lies in no block that the node can use.
type NotHereError struct {
	Address netip.Addr
	Pool    string
}

func (e *NotHereError) Error() string {
	return fmt.Sprintf("address %s of IPPool %s lies in no block of this node", e.Address, e.Pool)
}

// Request asks for one address from each list of candidate pools (one list for each family), the first pool with a
// free address first. Exact addresses, if any, are taken instead of a free one of their family.
type Request struct {
	Endpoint   Endpoint
	Candidates [][]string
	Exact      []netip.Addr
}

// exhaustedPatience is how long a pod waits for other nodes to give back empty blocks of an exhausted pool, or for links
// of deleted pods to go. In a pool of which the node may have no more blocks only the latter can help.
const exhaustedPatience = 5 * time.Second

// travelPatience is how long a pod waits for its address to come from another node.
const travelPatience = 10 * time.Second

// preference is how long a pod waits for a block of a pool that comes first, before it takes an address of another one.
const preference = 2 * time.Second

// Reserve enters an endpoint with addresses and returns it. Where none is free it waits for a block until the context
// ends, or for a few seconds where the pool has none left, the namespace may have no more, or the address that it asks for is in use. A second call for an endpoint that the book has returns it as it is.
func (b *Book) Reserve(ctx context.Context, r Request) (Endpoint, error) {
	waitsFor, asked := "", false
	defer func() {
		if asked {
			b.ask(r.Exact, -1)
		}
		if waitsFor != "" {
			b.wait(waitsFor, -1)
		}
		if waitsFor != "" || asked {
			b.demand()
		}
	}()
	var giveUp, compromise <-chan time.Time
	inOrder := true
	for {
		e, changed, short, err := b.try(r, inOrder)
		blocked := mayPass(err)
		if blocked == nil && (err != nil || short == "") {
			return e, err
		}
		if giveUp == nil && b.inVain(short, blocked) != nil {
			timer := time.NewTimer(patienceFor(blocked))
			defer timer.Stop()
			giveUp = timer.C
		}
		if isElsewhere(blocked) && !asked {
			asked = true
			b.ask(r.Exact, 1)
			b.demand()
		}
		if inOrder && compromise == nil {
			timer := time.NewTimer(preference)
			defer timer.Stop()
			compromise = timer.C
		}
		if waitsFor != short {
			if waitsFor != "" {
				b.wait(waitsFor, -1)
			}
			if waitsFor = short; waitsFor != "" {
				b.wait(short, 1)
			}
			b.demand()
		}
		select {
		case <-changed:
		case <-compromise:
			inOrder = false
		case <-giveUp:
			if err := b.inVain(short, blocked); err != nil {
				return Endpoint{}, err
			}
			return Endpoint{}, &FullError{Pools: []string{short}}
		case <-ctx.Done():
			if err := b.inVain(short, blocked); err != nil {
				return Endpoint{}, err
			}
			return Endpoint{}, &WaitError{Pool: short, Cause: context.Cause(ctx)}
		}
	}
}

// Waiting reports whether a pod waits for an address.
func (b *Book) Waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)+len(b.asks) > 0
}

// mayPass returns an error that ends when another pod goes or an address comes, and nil for every other one.
func mayPass(err error) error {
	var barred *NamespaceError
	var inUse *InUseError
	if errors.As(err, &barred) || errors.As(err, &inUse) || isElsewhere(err) {
		return err
	}
	return nil
}

func isElsewhere(err error) bool {
	var elsewhere *ElsewhereError
	return errors.As(err, &elsewhere)
}

func patienceFor(blocked error) time.Duration {
	if isElsewhere(blocked) {
		return travelPatience
	}
	return exhaustedPatience
}

// inVain returns why the controller can't help a pod that waits: its namespace may have no more, its address is in use, or the node can't have another block of
// the pool now. It returns nil where a block may come.
func (b *Book) inVain(pool string, blocked error) error {
	if blocked != nil {
		return blocked
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.pools[pool]
	atLimit := b.atLimit(known)
	if !known.Exhausted && !atLimit {
		return nil
	}
	full := &FullError{}
	full.add(known, atLimit)
	return full
}

// atLimit reports whether the node has as many blocks of a pool as it may have. Those that it gives back do not count: the controller
// takes them soon.
func (b *Book) atLimit(pool Pool) bool {
	if pool.MaxBlocks <= 0 {
		return false
	}
	has := 0
	for _, known := range b.blocks {
		if known.pool == pool.Name && !known.released && known.loan == "" {
			has++
		}
	}
	return has >= pool.MaxBlocks
}

func (b *Book) wait(pool string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting[pool] += n; b.waiting[pool] <= 0 {
		delete(b.waiting, pool)
	}
}

// try reserves at once, or says which pool is short of addresses and what tells when to try again. With inOrder, no pool serves before
// a better one is exhausted.
func (b *Book) try(r Request, inOrder bool) (Endpoint, <-chan struct{}, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.endpoints[r.Endpoint.Interface]; known != nil {
		return *known, nil, "", nil
	}
	e := r.Endpoint
	e.Addresses, e.Pools = nil, nil
	undo := func() {
		for _, a := range e.Addresses {
			for _, known := range b.blocksWith(a) {
				known.unmark(a, b.now())
			}
		}
	}
	for _, candidates := range r.Candidates {
		a, pool, err := b.takeOne(Pod{e.Namespace, e.Pod}, candidates, r.Exact, inOrder)
		if err != nil {
			undo()
			return Endpoint{}, b.changed, "", err
		}
		if !a.IsValid() {
			undo()
			return Endpoint{}, b.changed, pool, nil
		}
		e.Addresses, e.Pools = append(e.Addresses, a), append(e.Pools, pool)
	}
	if len(e.Addresses) == 0 {
		return Endpoint{}, nil, "", wish.ErrNoPool
	}
	for _, a := range r.Exact {
		if !slices.Contains(e.Addresses, a) {
			undo()
			return Endpoint{}, nil, "", &AddressError{Address: a}
		}
	}
	e.State = Reserved
	b.enter(e)
	if !b.reservesFull(e.Pools) {
		b.demand()
	}
	return *b.endpoints[e.Interface], nil, "", nil
}

// takeOne takes an address from the first candidate that has one. An invalid address names the pool to wait for.
func (b *Book) takeOne(who Pod, candidates []string, exact []netip.Addr, inOrder bool) (netip.Addr, string, error) {
	full := &FullError{}
	var barred *NamespaceError
	waitFor, spare := "", ""
	for _, name := range candidates {
		pool := b.pools[name]
		if i := slices.IndexFunc(exact, pool.CIDR.Contains); pool.Usable && i >= 0 {
			owner, remembered := b.remembered[exact[i]]
			if remembered && owner != who {
				return netip.Addr{}, "", &RememberedError{Address: exact[i], Pool: name, Pod: owner}
			}
			// What is remembered for a pod counts for its namespace already.
			if barred := b.barred(pool, who.Namespace); barred != nil && !remembered {
				return netip.Addr{}, "", barred
			}
			return b.takeExact(pool, exact[i])
		}
	}
	for _, name := range candidates {
		pool, ok := b.pools[name]
		if !ok || !pool.Usable {
			continue
		}
		if no := b.barred(pool, who.Namespace); no != nil {
			barred = no
			continue
		}
		for _, known := range b.blocksOf(name) {
			if !known.usable || known.fixed {
				continue
			}
			if a, ok := known.take(); ok {
				return a, name, nil
			}
		}
		if atLimit := b.atLimit(pool); atLimit || pool.Exhausted {
			full.add(pool, atLimit)
			// At its limit the node waits even if no pod is leaving: its claim then tells the controller, and so people.
			if spare == "" && (atLimit || pool.Spare || b.releasing(name)) {
				spare = name
			}
			continue
		}
		if inOrder {
			return netip.Addr{}, name, nil
		}
		if waitFor == "" {
			waitFor = name
		}
	}
	switch {
	case waitFor != "":
		return netip.Addr{}, waitFor, nil
	case spare != "":
		return netip.Addr{}, spare, nil
	case barred != nil:
		return netip.Addr{}, "", barred
	case len(full.Pools) > 0:
		return netip.Addr{}, "", full
	}
	return netip.Addr{}, "", wish.ErrNoPool
}

// releasing reports whether an address of a pool is about to become free on this node.
func (b *Book) releasing(pool string) bool {
	for _, e := range b.endpoints {
		if e.State == Releasing && slices.Contains(e.Pools, pool) {
			return true
		}
	}
	return false
}

// takeExact takes the address that a pod asks for. An invalid address says that the node has no block of the pool yet, and names the pool.
func (b *Book) takeExact(pool Pool, a netip.Addr) (netip.Addr, string, error) {
	if pool.Reserved.Contains(a) {
		return netip.Addr{}, "", fmt.Errorf("address %s of pool %s is reserved (the IPPool's reserved, or an IPReservation); ask for another", a, pool.Name)
	}
	for _, known := range b.blocksWith(a) {
		if !known.usable || known.isLent(a) {
			continue
		}
		if known.kept && a == known.cidr.Addr() {
			return netip.Addr{}, "", keptError(pool, a)
		}
		for holder := range b.holders[a] {
			e := b.endpoints[holder]
			return netip.Addr{}, "", &InUseError{Address: a, Pool: pool.Name, Holder: "pod " + e.Namespace + "/" + e.Pod}
		}
		known.mark(a)
		return a, pool.Name, nil
	}
	if pool.Travels {
		if first, err := a.Prefix(pool.BlockBits); err == nil && !first.IsSingleIP() && first.Addr() == a {
			return netip.Addr{}, "", keptError(pool, a)
		}
		return netip.Addr{}, "", &ElsewhereError{Address: a, Pool: pool.Name}
	}
	if !slices.ContainsFunc(b.blocksOf(pool.Name), func(known *block) bool { return known.usable }) {
		return netip.Addr{}, pool.Name, nil
	}
	return netip.Addr{}, "", &NotHereError{Address: a, Pool: pool.Name}
}

func keptError(pool Pool, a netip.Addr) error {
	return fmt.Errorf("address %s of pool %s is the first of its block, which is kept for the node's tunnels; ask for another", a, pool.Name)
}

// blocksOf returns a pool's blocks in address order, so that low blocks fill and high ones empty. Ranges that are lent to the node come last.
func (b *Book) blocksOf(pool string) []*block {
	var out []*block
	for _, known := range b.blocks {
		if known.pool == pool {
			out = append(out, known)
		}
	}
	slices.SortFunc(out, func(x, y *block) int {
		if mine := x.loan == ""; mine != (y.loan == "") {
			if mine {
				return -1
			}
			return 1
		}
		return x.cidr.Addr().Compare(y.cidr.Addr())
	})
	return out
}
