package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// What the controller may need, at any size up to 5,000 nodes and 150,000 endpoints.
const (
	controllerMemory = 300 << 20
	firstDecision    = 15 * time.Second
	claimsWithin     = 60 * time.Second
	claimP99         = 250 * time.Millisecond
	// steadyClaims is how many claims are made one after the other.
	steadyClaims = 200
)

// partController measures the controller with light nodes: first their blocks, then their endpoints, then its restart.
func (b *bench) partController(ctx context.Context) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	controller, err := b.startController()
	if err != nil {
		return err
	}
	f, err := b.newFleet(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := f.addLights(0, b.claimants); err != nil {
		return err
	}
	b.logf("%d light nodes have joined after %s", b.claimants, time.Since(began).Round(time.Second))
	label := fmt.Sprintf("controller, %d nodes", b.claimants)
	spent, err := b.spent(ctx, controller)
	if err != nil {
		return err
	}
	took, err := f.claim(f.lights)
	if err != nil {
		return err
	}
	text, err := spent()
	if err != nil {
		return err
	}
	b.table.judge(took <= claimsWithin, label+": all claim at once, until each has a block", "<= 60 s", "%.1f s; %s", took.Seconds(), text)
	if err := f.report(f.lights); err != nil {
		return err
	}
	if err := f.settled(b.claimants); err != nil {
		return err
	}
	empty, err := f.steady(ctx, label+", no endpoint")
	if err != nil {
		return err
	}
	if err := b.loadEndpoints(ctx, f.lights, b.endpoints/b.claimants); err != nil {
		return err
	}
	total := b.endpoints / b.claimants * b.claimants
	label += fmt.Sprintf(", %d endpoints", total)
	if err := b.countedBy(ctx, total); err != nil {
		return err
	}
	if err := f.judgeMemory(ctx, controller, label); err != nil {
		return err
	}
	full, err := f.steady(ctx, label)
	if err != nil {
		return err
	}
	b.table.judge(full < 2*empty+time.Millisecond, label+": a round of block allocation against one without endpoints", "the same", "%s against %s",
		milliseconds(full), milliseconds(empty))
	return f.restart(ctx, controller, label)
}

// spent returns what says how much processor time the controller and the API server have used since. On a busy machine that tells more
// than the time that passed.
func (b *bench) spent(ctx context.Context, controller *process) (func() (string, error), error) {
	read := func() (time.Duration, server, error) {
		own, err := controller.processor()
		if err != nil {
			return 0, server{}, err
		}
		of, err := b.readServer(ctx)
		return own, of, err
	}
	ownBefore, before, err := read()
	return func() (string, error) {
		own, now, err := read()
		return fmt.Sprintf("processor time of the controller %.1f s, of the API server %.1f s", (own - ownBefore).Seconds(), now.since(before).processor), err
	}, err
}

// countedBy waits until the controller's status of the pool counts the endpoints.
func (b *bench) countedBy(ctx context.Context, endpoints int) error {
	return b.await(ctx, "the controller has counted the endpoints", func() error {
		pool, err := b.pool(ctx)
		if err == nil && pool.Status.Allocated < int64(endpoints) {
			err = fmt.Errorf("it counts %d of %d", pool.Status.Allocated, endpoints)
		}
		return err
	})
}

func (f *fleet) judgeMemory(ctx context.Context, controller *process, label string) error {
	now, peak, err := controller.restMemory(ctx)
	if err != nil {
		return err
	}
	f.b.table.judge(now <= controllerMemory, label+": resident memory", "<= 300 MiB", "%s, at most %s since its start", mib(now), mib(peak))
	return nil
}

// steady has nodes claim one after the other, and returns how long a round of the controller takes on average.
func (f *fleet) steady(ctx context.Context, label string) (time.Duration, error) {
	var series []time.Duration
	before, err := readRounds(ctx, "blocks")
	if err != nil {
		return 0, err
	}
	for i := range steadyClaims {
		n := f.lights[i*len(f.lights)/steadyClaims%len(f.lights)]
		took, err := f.claimOne(ctx, n)
		if err != nil {
			return 0, err
		}
		series = append(series, took)
	}
	after, err := readRounds(ctx, "blocks")
	if err != nil {
		return 0, err
	}
	p99 := percentile(series, 0.99)
	f.b.table.judge(p99 <= claimP99, label+": a claim in the steady state", "p99 < 250 ms", "p99 %s, p50 %s", milliseconds(p99), milliseconds(percentile(series, 0.5)))
	count := max(after.count-before.count, 1)
	return (after.took - before.took) / time.Duration(count), nil
}

// claimOne has one node ask for one more block, and returns how long it takes until the block can be seen.
func (f *fleet) claimOne(ctx context.Context, n *light) (time.Duration, error) {
	have, _ := f.blocksOf(n.name)
	const largest = 64 // more than a block has for pods
	began := time.Now()
	if err := n.want(ctx, largest*have); err != nil {
		return 0, err
	}
	arrived := began
	err := f.b.await(ctx, "a node has one more block", func() error {
		count, at := f.blocksOf(n.name)
		if count <= have {
			return fmt.Errorf("node %s has %d", n.name, count)
		}
		arrived = at
		return nil
	})
	return arrived.Sub(began), err
}

// restart measures a new controller with everything there: until its first block, and its memory.
func (f *fleet) restart(ctx context.Context, running *process, label string) error {
	running.stop(syscall.SIGTERM)
	n := f.lights[len(f.lights)/2]
	have, _ := f.blocksOf(n.name)
	if err := n.want(ctx, 64*have); err != nil {
		return err
	}
	began := time.Now()
	controller, err := f.b.startController()
	if err != nil {
		return err
	}
	spent, err := f.b.spent(ctx, controller)
	if err != nil {
		return err
	}
	var took time.Duration
	if err := f.b.await(ctx, "the new controller gives a block", func() error {
		count, at := f.blocksOf(n.name)
		if count <= have {
			return fmt.Errorf("node %s has %d", n.name, count)
		}
		took = at.Sub(began)
		return nil
	}); err != nil {
		return err
	}
	text, err := spent()
	if err != nil {
		return err
	}
	f.b.table.judge(took <= firstDecision, label+": start to first block", "<= 15 s", "%.1f s; %s", took.Seconds(), text)
	return f.judgeMemory(ctx, controller, label+", after a restart")
}
