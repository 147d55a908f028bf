package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// An agent is idle once there was nothing but renewals of leases for quiet. It may work for busy on what came before.
	quiet = 20 * time.Second
	busy  = 5 * time.Minute
)

// idleAgent measures the processor time and the API requests of an agent that has nothing to do.
func (b *bench) idleAgent(ctx context.Context) error {
	agent, err := b.findAgent()
	if err != nil {
		return err
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	asked, err := requests(ctx, b.Config)
	if err != nil {
		return err
	}
	before, err := processorTime(agent)
	if err != nil {
		return err
	}
	if err := pause(ctx, b.idle); err != nil {
		return err
	}
	after, err := processorTime(agent)
	if err != nil {
		return err
	}
	askedAfter, err := requests(ctx, b.Config)
	if err != nil {
		return err
	}
	resident, err := residentMB(agent)
	if err != nil {
		return err
	}
	b.add(row{what: fmt.Sprintf("agent, idle for %s: processor time", b.idle), target: "not measurable",
		ours: fmt.Sprintf("%d ms (%.2f %%), resident %.1f MB", (after - before).Milliseconds(), 100*float64(after-before)/float64(b.idle), resident)})
	diff := askedAfter.since(asked)
	b.add(row{what: fmt.Sprintf("API requests of all of Causeway, idle for %s", b.idle), ours: diff.perCall(1), target: "leases only"})
	return nil
}

// settle waits until the agent has nothing to do.
func (b *bench) settle(ctx context.Context) error {
	for begin := time.Now(); time.Since(begin) < busy; {
		before, err := requests(ctx, b.Config)
		if err != nil {
			return err
		}
		if err := pause(ctx, quiet); err != nil {
			return err
		}
		after, err := requests(ctx, b.Config)
		if err != nil {
			return err
		}
		diff := after.since(before)
		if delete(diff, "PUT leases"); len(diff) == 0 {
			return nil
		}
	}
	return nil // the table shows what it does
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// findAgent returns the process id of the node's agent.
func (b *bench) findAgent() (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("look for the agent: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.HasPrefix(string(argv), b.Bin("causeway-agent")+"\x00") {
			return pid, nil
		}
	}
	return 0, errors.New("look for the agent: there is no such process")
}

func residentMB(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the agent's memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.Atoi(strings.Fields(value)[0])
			return float64(kB) / 1024, err
		}
	}
	return 0, errors.New("read the agent's memory: there is no VmRSS")
}

// processorTime is utime and stime of proc(5), in ticks of 10 ms.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the agent's processor time: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("read the agent's processor time: %q", text)
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err
}
