// Package exploration visits every state of a small cluster: two nodes, two controllers that both believe they lead, one pool of two
// blocks of two addresses (one of which is the tunnels'), and three pods, each of which starts and ends once. What a controller
// plans and what an agent gives out is decided by the real blockplan.State and addressbook.Book; this package only says in which
// order their steps can come. States come out, with the first one that breaks an invariant.
package exploration

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	nodes   = 2
	leaders = 2
	blocks  = 2
	pods    = 3
)

// nodeOf is where each pod runs.
var nodeOf = [pods]int8{0, 0, 1}

// none stands for no node, no address, no task.
const none int8 = -1

// Phases of a pod, as its container runtime sees it.
const (
	unborn   int8 = iota
	starting      // ADD is under way
	running
	ending // dead; DEL has not been answered
	gone   // DEL has been answered; the namespace may be there
	buried // the namespace is gone, too
)

// Endpoint states in a book.
const (
	absent int8 = iota
	reserved
	ready
	releasing
)

// Tasks of the queue of records.
const (
	noTask int8 = iota
	write
	remove
)

// set is a set of blocks.
type set uint8

func (s set) has(b int) bool    { return s>>b&1 == 1 }
func (s set) with(b int) set    { return s | 1<<b }
func (s set) without(b int) set { return s &^ (1 << b) }

// uids are those of blocks, by block; 0 for none. A block that is made again has another.
type uids [blocks]int8

// claim is a BlockClaim.
type claim struct {
	exists   bool
	waiting  int8
	held     set
	released uids
}

// block is an IPBlock.
type block struct {
	owner, uid int8
}

// records hold each pod's address, or none.
type records [pods]int8

// api is what the API server stores.
type api struct {
	blocks  [blocks]block
	claims  [nodes]claim
	records records
}

// leader is a controller. It remembers nothing but what its watches have shown: one that has just started is the most forgetful.
// todo is what its last plan still has to do.
type leader struct {
	seen api
	todo todo
}

// todo is the rest of a round.
type todo struct {
	create  [blocks]int8 // for which node
	release [blocks]int8 // the uid to delete
	checked set          // releases that the node's claim, read from the API server, has confirmed
}

// agent is a node's agent and what is in its memory.
type agent struct {
	up       bool
	own      uids // the blocks that its watch shows as its own
	held     set  // the book's blocks
	uid      uids // theirs, as far as they are known
	released uids
	claim    claim // what it wants to have in its BlockClaim
	state    [pods]int8
	address  [pods]int8
	task     [pods]int8
	maybe    [pods]bool // the API may have the record
}

// link is the host end of a pod's veth pair.
type link struct {
	address int8
	marked  bool
}

// State is the whole cluster at one moment.
type State struct {
	api     api
	leaders [leaders]leader
	agents  [nodes]agent
	links   [pods]link
	phase   [pods]int8
	// permits are the blocks of which a controller without a plan has read in the API server that their node has released them.
	permits set
	crashes int8 // that may still come
	losses  int8 // answers that may still be lost
}

// start is the first state: nothing has happened. Of the pods only some are ever born.
func start(crashes, losses int8, born ...int) State {
	s := State{crashes: crashes, losses: losses}
	empty := api{}
	for i := range empty.blocks {
		empty.blocks[i] = block{owner: none}
	}
	for i := range empty.records {
		empty.records[i] = none
	}
	s.api = empty
	for i := range s.leaders {
		s.leaders[i] = leader{seen: empty, todo: idle}
	}
	for i := range s.agents {
		s.agents[i] = fresh
		s.agents[i].up = true
	}
	for i := range s.links {
		s.links[i].address = none
		if !slices.Contains(born, i) {
			s.phase[i] = buried
		}
	}
	return s
}

var (
	idle  = todo{create: [blocks]int8{none, none}, release: [blocks]int8{none, none}}
	fresh = agent{address: [pods]int8{none, none, none}}
)

// canonical makes states alike that differ in names only: which controller and which of the pods of node 0 is which, and the uids
// of blocks, of which only matters who has the same one.
func (s *State) canonical() {
	s.canonicalUIDs()
	swapped := *s
	swapped.swapPods()
	if compare(&swapped, s) < 0 {
		*s = swapped
	}
	if compareLeaders(&s.leaders[1], &s.leaders[0]) < 0 {
		s.leaders[0], s.leaders[1] = s.leaders[1], s.leaders[0]
		s.canonicalUIDs()
	}
}

// swapPods exchanges the two pods of node 0.
func (s *State) swapPods() {
	s.api.records[0], s.api.records[1] = s.api.records[1], s.api.records[0]
	for l := range s.leaders {
		r := &s.leaders[l].seen.records
		r[0], r[1] = r[1], r[0]
	}
	a := &s.agents[0]
	a.state[0], a.state[1] = a.state[1], a.state[0]
	a.address[0], a.address[1] = a.address[1], a.address[0]
	a.task[0], a.task[1] = a.task[1], a.task[0]
	a.maybe[0], a.maybe[1] = a.maybe[1], a.maybe[0]
	s.links[0], s.links[1] = s.links[1], s.links[0]
	s.phase[0], s.phase[1] = s.phase[1], s.phase[0]
}

// compare orders states by what differs when pods are swapped.
func compare(a, b *State) int {
	for _, c := range []int{slices.Compare(a.phase[:], b.phase[:]), slices.Compare(a.agents[0].state[:], b.agents[0].state[:]),
		slices.Compare(a.agents[0].address[:], b.agents[0].address[:]), slices.Compare(a.api.records[:], b.api.records[:]),
		slices.Compare(a.agents[0].task[:], b.agents[0].task[:]), cmp.Compare(a.links[0].address, b.links[0].address),
		slices.Compare(a.leaders[0].seen.records[:], b.leaders[0].seen.records[:]), slices.Compare(a.leaders[1].seen.records[:], b.leaders[1].seen.records[:])} {
		if c != 0 {
			return c
		}
	}
	return 0
}

// compareLeaders orders controllers. Those that it calls equal may differ; they are just visited in both orders then.
func compareLeaders(a, b *leader) int {
	for i := range a.seen.blocks {
		if c := cmp.Or(cmp.Compare(a.seen.blocks[i].owner, b.seen.blocks[i].owner), cmp.Compare(a.seen.blocks[i].uid, b.seen.blocks[i].uid)); c != 0 {
			return c
		}
	}
	for i := range a.seen.claims {
		x, y := a.seen.claims[i], b.seen.claims[i]
		if c := cmp.Or(cmp.Compare(x.waiting, y.waiting), cmp.Compare(x.held, y.held), slices.Compare(x.released[:], y.released[:])); c != 0 {
			return c
		}
	}
	return cmp.Or(slices.Compare(a.seen.records[:], b.seen.records[:]), slices.Compare(a.todo.create[:], b.todo.create[:]),
		slices.Compare(a.todo.release[:], b.todo.release[:]), cmp.Compare(a.todo.checked, b.todo.checked))
}

func (s *State) canonicalUIDs() {
	for b := range blocks {
		var names [maxUID + 1]int8
		next := int8(1)
		s.eachUID(b, func(uid *int8) {
			if *uid <= 0 {
				return
			}
			if names[*uid] == 0 {
				names[*uid], next = next, next+1
			}
			*uid = names[*uid]
		})
	}
}

// maxUID bounds the uids of one block that a state can name: there are not more places.
const maxUID = 1 + leaders*(2+nodes) + nodes*5 + 1

// eachUID visits each place in which a uid of a block stands.
func (s *State) eachUID(b int, visit func(*int8)) {
	visit(&s.api.blocks[b].uid)
	for n := range nodes {
		a := &s.agents[n]
		for _, uid := range []*int8{&s.api.claims[n].released[b], &a.own[b], &a.uid[b], &a.released[b], &a.claim.released[b]} {
			visit(uid)
		}
	}
	for l := range s.leaders {
		visit(&s.leaders[l].seen.blocks[b].uid)
		visit(&s.leaders[l].todo.release[b])
		for n := range nodes {
			visit(&s.leaders[l].seen.claims[n].released[b])
		}
	}
}

// freshUID is one that nobody knows.
func (s *State) freshUID(b int) int8 {
	most := int8(0)
	s.eachUID(b, func(uid *int8) { most = max(most, *uid) })
	return most + 1
}

// broken says which invariant a state breaks, or nothing.
func (s *State) broken() string {
	for p, l := range s.links {
		if l.address == none {
			continue
		}
		n := nodeOf[p]
		for q := range p {
			if s.links[q].address == l.address {
				return fmt.Sprintf("pods %d and %d both have address %d", q, p, l.address)
			}
		}
		for q, r := range s.api.records {
			if q != p && r == l.address {
				return fmt.Sprintf("pod %d has address %d, and pod %d has its record", p, l.address, q)
			}
		}
		if owner := s.api.blocks[l.address].owner; owner != n {
			return fmt.Sprintf("pod %d has address %d, but its block is of node %d", p, l.address, owner)
		}
		if a := s.agents[n]; a.up && (a.state[p] == absent || a.address[p] != l.address) {
			return fmt.Sprintf("address %d is free in the book of node %d although pod %d has it", l.address, n, p)
		}
	}
	for p, r := range s.api.records {
		for q := range p {
			if r != none && s.api.records[q] == r {
				return fmt.Sprintf("address %d has two records", r)
			}
		}
	}
	return ""
}

// leftOver says what a cluster in which nothing can happen any more should not have, or nothing.
func (s *State) leftOver() string {
	for p := range pods {
		if s.phase[p] != buried || s.api.records[p] != none || s.links[p].address != none || s.agents[nodeOf[p]].state[p] != absent {
			return fmt.Sprintf("pod %d is not wholly gone: %+v", p, *s)
		}
	}
	for b := range blocks {
		if s.api.blocks[b].owner != none {
			return fmt.Sprintf("block %d is left: %+v", b, *s)
		}
	}
	return ""
}
