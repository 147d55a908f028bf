package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/test/resident"
)

// planPackage holds the benchmarks of the agent's passes, at 10,000 blocks.
const planPackage = "./node-agent/datapath"

// What a pass may cost, in milliseconds and bytes.
const (
	passMost    = 1.0
	garbageMost = 100_000
)

// partPlan runs the Go benchmarks of the agent's plan and shows what they say.
func (b *bench) partPlan(ctx context.Context) error {
	repo, err := resident.Repository()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "go", "test", planPackage, "-run=^$", "-bench=.", "-benchmem")
	c.Dir = repo
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run the benchmarks of %s: %w: %s", planPackage, err, out)
	}
	found := false
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 7 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "Benchmark"), "-")
		ns, _ := strconv.ParseFloat(fields[2], 64)
		garbage, _ := strconv.ParseFloat(fields[4], 64)
		what, measured := "agent: a pass, 10,000 blocks, "+strings.ReplaceAll(strings.TrimPrefix(name, "Pass10000Blocks/"), "_", " "), fmt.Sprintf("%.3f ms, %.0f kB of garbage", ns/1e6, garbage/1000)
		switch {
		case strings.HasSuffix(name, "nothing_changed"):
			b.table.judge(ns/1e6 < passMost && garbage < garbageMost, what, "< 1 ms, 100 kB", "%s", measured)
		case strings.HasSuffix(name, "one_block_changed"):
			b.table.judge(ns/1e6 < passMost, what, "< 1 ms", "%s", measured)
		default:
			b.table.note(what, "%s", measured)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("%s has no benchmarks: %s", planPackage, out)
	}
	return lines.Err()
}
