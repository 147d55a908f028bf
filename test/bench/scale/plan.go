package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// planPackage holds the benchmarks of the agent's pure part.
const planPackage = "./node-agent/datapath/..."

// partPlan runs the Go benchmarks of the agent's plan and shows what they say.
func (b *bench) partPlan(ctx context.Context) error {
	repo, err := repository()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "go", "test", planPackage, "-run=^$", "-bench=.", "-benchmem")
	c.Dir = repo
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run the benchmarks of %s: %w: %s", planPackage, err, out)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 7 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "Benchmark"), "-")
		ns, _ := strconv.ParseFloat(fields[2], 64)
		bytes, _ := strconv.ParseFloat(fields[4], 64)
		b.table.note("plan: "+name, "%.3f ms, %.0f kB", ns/float64(time.Millisecond), bytes/1000)
	}
	return nil
}
