package exploration

// successors calls visit with every state that one step leads to.
func (x *explorer) successors(s State, visit func(State)) {
	if x.anyController {
		x.controllerSteps(s, visit)
	} else {
		for l := range leaders {
			x.leaderSteps(s, l, visit)
		}
	}
	for n := range int8(nodes) {
		x.agentSteps(s, n, visit)
	}
	for p := range pods {
		x.runtimeSteps(s, p, visit)
	}
}

// controllerSteps are those of any number of controllers that plan whatever they like, but keep to what their requests are made of:
// a block that is created must not exist, and one is deleted only if its node's claim, read from the API server after the block was
// seen, has released it, and if it is still the one that was seen.
func (x *explorer) controllerSteps(s State, visit func(State)) {
	for b := range blocks {
		next := s
		owner := s.api.blocks[b].owner
		switch {
		case owner == none:
			for n := range int8(nodes) {
				next.api.blocks[b] = block{owner: n, uid: s.freshUID(b)}
				visit(next)
			}
		case s.permits.has(b):
			next.api.blocks[b], next.permits = block{owner: none}, s.permits.without(b)
			visit(next)
		case s.api.claims[owner].released[b] == s.api.blocks[b].uid, x.releaseByCIDR && s.api.claims[owner].released[b] != 0:
			next.permits = s.permits.with(b)
			visit(next)
		}
	}
}

// leaderSteps are those of a controller: its watches show something new, it plans, and it carries its plan out, one request after
// the other. A lost answer changes nothing here: the next plan does not rest on it.
func (x *explorer) leaderSteps(s State, l int, visit func(State)) {
	me := s.leaders[l]
	x.watchSteps(s, l, visit)
	if me.todo == idle {
		if todo := x.planner.plan(me.seen); todo != idle {
			next := s
			next.leaders[l].todo = todo
			visit(next)
		}
		return
	}
	for b := range blocks {
		if node := me.todo.create[b]; node != none {
			next := s
			next.leaders[l].todo.create[b] = none
			if s.api.blocks[b].owner == none { // else the API server says that it exists
				next.api.blocks[b] = block{owner: node, uid: s.freshUID(b)}
			}
			visit(next)
			return
		}
	}
	for b := range blocks {
		uid := me.todo.release[b]
		if uid == none {
			continue
		}
		next := s
		if !me.todo.checked.has(b) {
			if owner := me.seen.blocks[b].owner; owner != none && s.api.claims[owner].released[b] == uid {
				next.leaders[l].todo.checked = me.todo.checked.with(b)
			} else {
				next.leaders[l].todo.release[b] = none
			}
			visit(next)
			return
		}
		next.leaders[l].todo.release[b], next.leaders[l].todo.checked = none, me.todo.checked.without(b)
		if s.api.blocks[b].owner != none && s.api.blocks[b].uid == uid { // the precondition
			next.api.blocks[b] = block{owner: none}
		}
		visit(next)
		return
	}
}

// watchSteps show a controller what one of its three watches has: each is as late as it likes.
func (x *explorer) watchSteps(s State, l int, visit func(State)) {
	seen := &s.leaders[l].seen
	if seen.blocks != s.api.blocks && s.leaders[l].todo == idle {
		next := s
		next.leaders[l].seen.blocks = s.api.blocks
		visit(next)
	}
	if seen.claims != s.api.claims && s.leaders[l].todo == idle {
		next := s
		next.leaders[l].seen.claims = s.api.claims
		visit(next)
	}
	if seen.records != s.api.records && s.leaders[l].todo == idle {
		next := s
		next.leaders[l].seen.records = s.api.records
		visit(next)
	}
}

// agentSteps are those of a node's agent.
func (x *explorer) agentSteps(s State, n int8, visit func(State)) {
	a := s.agents[n]
	if !a.up {
		visit(x.restarted(s, n))
		return
	}
	if s.crashes > 0 {
		next := s
		next.crashes--
		next.agents[n] = fresh
		for p := range pods {
			if nodeOf[p] == n && s.phase[p] == starting { // its ADD has failed
				next.phase[p] = ending
			}
		}
		visit(next)
	}
	if own := s.ownBlocks(n); own != a.own {
		next := s
		next.agents[n].own = own
		x.settle(&next, n)
		visit(next)
	}
	if a.claim.exists && a.claim != s.api.claims[n] {
		next := s
		next.api.claims[n] = a.claim
		if s.losses > 0 { // the agent writes it once more
			next.losses--
			visit(next)
			next.losses++
		}
		visit(next)
	}
	for p := range pods {
		if nodeOf[p] == n {
			x.endpointSteps(s, n, p, visit)
		}
	}
}

// settled is an agent after a turn of its ledger.
func (x *explorer) settled(s State, n int8) agent {
	in := bookInput{agent: s.agents[n]}
	for p := range pods {
		in.waiting[p] = nodeOf[p] == n && s.phase[p] == starting && s.agents[n].state[p] == absent
	}
	return x.bookkeeper.settle(in)
}

func (x *explorer) settle(s *State, n int8) { s.agents[n] = x.settled(*s, n) }

// endpointSteps are those of one pod's endpoint: link, record, and their end.
func (x *explorer) endpointSteps(s State, n int8, p int, visit func(State)) {
	a := s.agents[n]
	if s.phase[p] == starting && a.state[p] == reserved {
		next := s
		next.links[p] = link{address: a.address[p]}
		next.agents[n].state[p], next.agents[n].task[p] = ready, write
		visit(next) // the agent may crash before it answers
		next.phase[p] = running
		visit(next)
	}
	if s.phase[p] == starting && a.state[p] == ready {
		next := s
		next.phase[p] = running
		visit(next)
	}
	if s.phase[p] == running || s.phase[p] == ending {
		next := s
		next.phase[p] = gone
		x.release(&next, n, p)
		visit(next)
	}
	switch a.task[p] {
	case write:
		next := s
		next.api.records[p] = a.address[p]
		next.agents[n].task[p] = noTask
		visit(next)
		if s.losses > 0 { // the queue tries again
			next.agents[n].task[p], next.agents[n].maybe[p], next.losses = write, true, s.losses-1
			visit(next)
		}
	case remove:
		next := s
		next.api.records[p] = none
		next.agents[n].task[p], next.agents[n].maybe[p] = noTask, false
		visit(next)
		if s.losses > 0 {
			next.agents[n].task[p], next.losses = remove, s.losses-1
			visit(next)
		}
	}
	recordGone := a.task[p] == noTask || x.freeEarly
	if a.state[p] == releasing && recordGone { // the reaper deletes the link, and the address is free
		next := s
		next.links[p] = link{address: none}
		next.agents[n].state[p], next.agents[n].address[p] = absent, none
		x.settle(&next, n)
		visit(next)
	}
}

// release is what DEL does: the link is marked, and the record is removed.
func (x *explorer) release(s *State, n int8, p int) {
	a := &s.agents[n]
	if s.links[p].address != none {
		s.links[p].marked = true
	}
	if a.state[p] != ready && a.state[p] != reserved {
		return
	}
	a.state[p] = releasing
	if a.task[p] == write && !a.maybe[p] { // it was never sent
		a.task[p] = noTask
		return
	}
	a.task[p] = remove
}

// restarted is an agent that has read records, links, blocks and its claim from the API server and the node, as records.Recall does.
func (x *explorer) restarted(s State, n int8) State {
	a := fresh
	a.up, a.own = true, s.ownBlocks(n)
	c := s.api.claims[n]
	a.released, a.held, a.uid = c.released, c.held, a.own
	for b, uid := range a.own {
		if uid != 0 {
			a.held = a.held.with(b)
		}
	}
	for p := range pods {
		record, l := s.api.records[p], s.links[p]
		if nodeOf[p] != n || record == none && l.address == none {
			continue
		}
		switch {
		case l.address == none: // its namespace is gone
			a.state[p], a.address[p], a.task[p], a.maybe[p] = releasing, record, remove, true
		case l.marked && record != none:
			a.state[p], a.address[p], a.task[p], a.maybe[p] = releasing, l.address, remove, true
		case l.marked:
			a.state[p], a.address[p] = releasing, l.address
		case record == none:
			a.state[p], a.address[p], a.task[p], a.maybe[p] = ready, l.address, write, true
		default:
			a.state[p], a.address[p] = ready, l.address
		}
	}
	s.agents[n] = a
	x.settle(&s, n)
	return s
}

// ownBlocks are the uids of a node's blocks.
func (s *State) ownBlocks(n int8) (own uids) {
	for b, have := range s.api.blocks {
		if have.owner == n {
			own[b] = have.uid
		}
	}
	return own
}

// runtimeSteps are those of the container runtime, apart from its calls.
func (x *explorer) runtimeSteps(s State, p int, visit func(State)) {
	next := s
	switch s.phase[p] {
	case unborn:
		next.phase[p] = starting
		if n := nodeOf[p]; s.agents[n].up {
			x.settle(&next, n)
		} else {
			next.phase[p] = ending // nobody answers its ADD
		}
		visit(next)
	case running: // some runtimes remove the namespace before DEL
		next.phase[p], next.links[p] = ending, link{address: none}
		visit(next)
	case gone:
		next.phase[p], next.links[p] = buried, link{address: none}
		visit(next)
	}
}
