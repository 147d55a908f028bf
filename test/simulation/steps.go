package simulation

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"
)

// Step is one operation of the scheduler: its kind, and a number that chooses among what is possible.
type Step struct {
	Kind   Kind
	Number uint64
}

// Kind is a kind of step.
type Kind uint8

// The kinds of steps, with how often each comes.
const (
	serveCall Kind = iota
	applyCall
	loseRequest
	loseAnswer
	serveLate
	deliverChange
	relist
	wait
	addPod
	endPod
	deletePod
	crashAgent
	startAgent
	turnOff
	turnOn
	splitNetwork
	healNetwork
	stepClock
	crashLeader
	person
	kinds
)

var kindNames = [kinds]string{"serve a call", "serve a call, answer later", "lose a request", "lose an answer", "serve a late request", "deliver a change",
	"list anew", "wait", "add a pod", "end a pod", "delete a pod", "crash an agent", "start an agent", "turn a machine off", "turn a machine on",
	"split the network", "heal the network", "step a clock", "crash a controller", "a person"}

var weights = [kinds]int{serveCall: 380, applyCall: 20, loseRequest: 8, loseAnswer: 10, serveLate: 6, deliverChange: 300, relist: 12, wait: 120, addPod: 40,
	endPod: 26, deletePod: 40, crashAgent: 4, startAgent: 10, turnOff: 1, turnOn: 4, splitNetwork: 2, healNetwork: 4, stepClock: 1, crashLeader: 2, person: 12}

// String returns a step as people read it.
func (s Step) String() string { return fmt.Sprintf("%s (%x)", kindNames[s.Kind], s.Number) }

// stepsPerWorld is how long a world lives before its quiet time.
const stepsPerWorld = 1500

// steps draws the steps of a seed.
func steps(seed uint64) []Step {
	r := rand.New(rand.NewPCG(seed, 0))
	var deck []Kind
	for kind, weight := range weights {
		for range weight {
			deck = append(deck, Kind(kind))
		}
	}
	out := make([]Step, stepsPerWorld)
	for i := range out {
		out[i] = Step{Kind: deck[r.IntN(len(deck))], Number: r.Uint64()}
	}
	return out
}

// do carries a step out. One for which nothing is possible does nothing.
func (w *World) do(s Step) {
	w.restart()
	switch s.Kind {
	case serveCall, applyCall, loseRequest, loseAnswer, serveLate:
		w.doCall(s)
	case deliverChange:
		if f, ok := pick(w.backlog(), s.Number, watcherKey); ok && (!w.slow(f) || s.Number>>20%8 == 0) {
			w.deliver(f, 1+int(s.Number>>8%4))
		}
	case relist:
		if f, ok := pick(w.backlog(), s.Number, watcherKey); ok && !w.slow(f) {
			w.deliver(f, 0)
		}
	case wait:
		w.keepLeases()
		w.sleep(pause(s.Number, len(w.absent) > 0))
	case addPod, endPod, deletePod:
		w.doPod(s)
	case person:
		w.doPerson(s.Number)
	default:
		w.doMachine(s)
	}
	w.settle()
}

// slow watches are far behind the others; which ones are depends on the seed.
func (w *World) slow(f watcher) bool {
	h := fnv.New64a()
	_, _ = h.Write([]byte(f.key()))
	return mix(h.Sum64()^w.seed)%4 == 0
}

// pause is mostly short. Agents that run without their Node are not kept waiting long.
func pause(number uint64, absent bool) time.Duration {
	d := time.Millisecond << (number % 14)
	if absent {
		d = min(d, 2*time.Second)
	}
	return d
}

func (w *World) doCall(s Step) {
	fits := func(c *call) bool { return !c.answered && !c.stuck() && !c.free }
	switch s.Kind {
	case applyCall:
		fits = func(c *call) bool { return !c.answered && !c.stuck() && !c.free && !c.applied }
	case loseRequest, loseAnswer:
		fits = func(c *call) bool { return !c.answered && c.remote && !c.applied && !w.precious(c) }
	case serveLate:
		fits = func(c *call) bool { return !c.abandoned.IsZero() && time.Since(c.abandoned) < lateAfter && !c.applied }
	}
	c, ok := pick(w.gate.waiting(fits), s.Number, callKey)
	if !ok {
		return
	}
	switch s.Kind {
	case serveCall:
		w.serve(c, true)
	case applyCall, serveLate:
		w.serve(c, false)
	case loseRequest:
		c.applied = true
		w.note("lost: %s", c.key)
		w.gate.answer(c, errLost)
	case loseAnswer:
		if c.stuck() {
			return
		}
		c.applied = true
		err := c.effect()
		w.note("%s: %v, and the answer is lost", c.key, err)
		w.gate.answer(c, errLost)
	}
}

// precious calls are the leases of agents that run without their Node.
func (w *World) precious(c *call) bool {
	return c.of.on != nil && w.absent[c.of.on.name] && kindInKey(c.key, "Lease")
}

func kindInKey(key, kind string) bool { return strings.Contains(key, " "+kind+" ") }

func (w *World) doPod(s Step) {
	machines := w.those(func(m *machine) bool { return m.on && (s.Kind != addPod || len(m.pods) < 7) })
	m, ok := pick(machines, s.Number, machineKey)
	if !ok {
		return
	}
	switch s.Kind {
	case addPod:
		w.note("%s starts a pod", m.name)
		m.startPod()
	case endPod:
		if p, ok := pick(m.podsIn(running), s.Number, podKey); ok {
			w.note("%s ends %s", m.name, p.name)
			m.endPod(p, s.Number>>16%3 == 0)
		}
	case deletePod:
		p, ok := pick(append(m.podsIn(ending), m.podsIn(deleted)...), s.Number, podKey)
		switch {
		case !ok:
		case p.state == deleted:
			w.note("%s removes the namespace of %s", m.name, p.name)
			m.finishPod(p)
		default:
			w.note("%s deletes %s", m.name, p.name)
			m.deletePod(p)
		}
	}
}

func machineKey(m *machine) string { return m.name }
func podKey(p *pod) string         { return p.name }

func (w *World) those(fits func(*machine) bool) (out []*machine) {
	for _, m := range w.machines {
		if fits(m) {
			out = append(out, m)
		}
	}
	return out
}

func (w *World) doMachine(s Step) {
	if s.Kind == crashLeader {
		i := int(s.Number % uint64(len(w.leaders)))
		w.note("%s crashes", w.leaders[i].name)
		w.gate.kill(w.leaders[i].process)
		w.settle()
		w.leaders[i] = w.startLeader(w.leaders[i].name)
		return
	}
	fits := map[Kind]func(*machine) bool{
		crashAgent: func(m *machine) bool { return m.agent != nil }, startAgent: func(m *machine) bool { return m.on && m.agent == nil },
		turnOff: func(m *machine) bool { return m.on && !w.absent[m.name] }, turnOn: func(m *machine) bool { return !m.on },
		splitNetwork: func(m *machine) bool { return !m.split && !w.absent[m.name] }, healNetwork: func(m *machine) bool { return m.split },
		stepClock: func(m *machine) bool { return m.on },
	}[s.Kind]
	m, ok := pick(w.those(fits), s.Number, machineKey)
	if !ok {
		return
	}
	w.note("%s: %s", m.name, kindNames[s.Kind])
	switch s.Kind {
	case crashAgent:
		m.crashAgent()
		if w.absent[m.name] { // it must not be away for long
			m.startAgent()
		}
	case startAgent:
		m.startAgent()
	case turnOff:
		m.turnOff(s.Number>>16%2 == 0)
	case turnOn:
		if w.server.objects["Node"][nodeKey(m)] == nil {
			w.createNode(m)
		}
		m.boot()
	case splitNetwork:
		m.split = true
	case healNetwork:
		m.split = false
	case stepClock:
		m.clock = time.Duration(int64(s.Number>>8%240)-120) * time.Second
	}
}
