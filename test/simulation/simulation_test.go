//go:debug randseednop=0
package simulation

import (
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

var (
	operationsFlag = flag.Float64("operations", 2e6, "how many operations TestNoAddressIsGivenTwice simulates at most, all processes together")
	processorFlag  = flag.Duration("processor", 90*time.Second, "how much processor time each of its processes may use; 0 for any")
	processesFlag  = flag.Int("processes", 2, "in how many processes")
	seedFlag       = flag.Uint64("seed", 0, "simulate this seed alone and print what happens; 0 for as many as there is time for")
	firstFlag      = flag.Uint64("first", 1, "the first seed")
	strideFlag     = flag.Uint64("stride", 1, "the distance between two seeds")
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	utilruntime.ErrorHandlers = nil // client-go's wait by a clock that all worlds share
	runtime.GOMAXPROCS(1)           // goroutines that become ready together run in the same order each time
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

func run(t *testing.T, folder string, seed uint64, list []Step, bug Bug, trace func(string)) Result {
	t.Helper()
	return Run{Seed: seed, Steps: list, Bug: bug, Log: logr.Discard(), Trace: trace}.Do(t, folder)
}

// explain shrinks a failure and shows it.
func explain(t *testing.T, folder string, seed uint64, list []Step, failed Result) {
	t.Helper()
	short := Shrink(list[:failed.Done], 150, func(l []Step) bool { return len(run(t, folder, seed, l, NoBug, nil).Failures) > 0 })
	var trace []string
	last := run(t, folder, seed, short, NoBug, func(line string) { trace = append(trace, line) })
	t.Errorf("seed %d fails after %d steps: %s\n%d steps are enough: %v\nwhat happens with them:\n%s\nfailures: %s\n%s\nrun again with: make simulate ARGS=\"-seed %d\"",
		seed, failed.Done, strings.Join(failed.Failures, "; "), len(short), short, strings.Join(trace, "\n"), strings.Join(last.Failures, "; "), last.Picture, seed)
}

// No invariant breaks in as many operations as a minute and a half of two processors can do; make simulate runs more.
func TestNoAddressIsGivenTwice(t *testing.T) {
	if *processesFlag > 1 && *seedFlag == 0 {
		inProcesses(t, *processesFlag)
		return
	}
	folder, started, total := memory(t), time.Now(), 0
	if *seedFlag != 0 {
		list := steps(*seedFlag)
		if out := run(t, folder, *seedFlag, list, NoBug, func(line string) { t.Log(line) }); len(out.Failures) > 0 {
			explain(t, folder, *seedFlag, list, out)
		}
		return
	}
	seed, worlds, before := *firstFlag, 0, processorTime(t)
	inTime := func() bool { return *processorFlag == 0 || processorTime(t)-before < *processorFlag }
	for ; float64(total) < *operationsFlag && inTime(); seed, worlds = seed+*strideFlag, worlds+1 {
		list := steps(seed)
		out := run(t, folder, seed, list, NoBug, nil)
		total += out.Operations
		if len(out.Failures) > 0 {
			explain(t, folder, seed, list, out)
			return
		}
	}
	used := processorTime(t) - before
	t.Logf("%d operations in %d worlds, seeds %d to %d, in %v: %.0f in each second of a processor", total, worlds, *firstFlag, seed-*strideFlag,
		time.Since(started).Round(time.Second), float64(total)/used.Seconds())
}

// memory returns a folder in memory where there is one: checkpoints are written often.
func memory(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("/dev/shm", "causeway-simulation")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}

// inProcesses runs the test in several processes, each with seeds of its own and one processor.
func inProcesses(t *testing.T, n int) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	commands := make([]*exec.Cmd, n)
	outputs := make([]strings.Builder, n)
	for i := range commands {
		commands[i] = exec.CommandContext(t.Context(), program, "-test.run=^TestNoAddressIsGivenTwice$", "-test.v", "-test.timeout=0", "-processes=1", "-processor="+processorFlag.String(),
			"-operations="+strconv.FormatFloat(math.Ceil(*operationsFlag/float64(n)), 'f', 0, 64),
			"-first="+strconv.FormatUint(*firstFlag+uint64(i), 10), "-stride="+strconv.Itoa(n))
		commands[i].Stdout, commands[i].Stderr = &outputs[i], &outputs[i]
		if err := commands[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range commands {
		err := c.Wait()
		text := outputs[i].String()
		if err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		for line := range strings.Lines(text) {
			if strings.Contains(line, " operations in ") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}

// Each planted bug is found with less than a minute of one free processor's time. One that others share does less in the same time, so
// the search goes on for longer.
func TestPlantedBugsAreFound(t *testing.T) {
	for _, bug := range []Bug{SkipFinalizer, FreeBeforeUnlink, ReuseBeforeRecordsEnd, IgnoreTerminating, TrustStaleList, GrantAtOnce} {
		t.Run(bug.String(), func(t *testing.T) {
			folder, started := memory(t), processorTime(t)
			for seed := uint64(1); ; seed++ {
				out := run(t, folder, seed, steps(seed), bug, nil)
				used := processorTime(t) - started
				if len(out.Failures) > 0 {
					t.Logf("found in %v by seed %d after %d steps: %s", used.Round(time.Millisecond), seed, out.Done, out.Failures[0])
					return
				}
				if used > 4*time.Minute {
					t.Fatalf("not found in %v and %d worlds", used, seed)
				}
			}
		})
	}
}

// processorTime is what this process has used. Other programs on the machine do not count.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// tries is how often a run is repeated that should be the same. Where another program takes the processor away for more than ten
// milliseconds, Go's scheduler puts the goroutine that ran behind the others, so on a busy machine a single run may differ.
const tries = 5

// The same steps make the same happen, so a failing seed can be run again and made short.
func TestAFailureReplaysAndShrinks(t *testing.T) {
	folder := memory(t)
	for seed := uint64(1); seed < 200; seed++ {
		list := steps(seed)
		first := run(t, folder, seed, list, FreeBeforeUnlink, nil)
		again, same := first, false
		for i := 0; i < tries && !same; i++ {
			before := again
			again = run(t, folder, seed, list, FreeBeforeUnlink, nil)
			same = before.Digest == again.Digest && slices.Equal(before.Failures, again.Failures)
		}
		if !same {
			t.Fatalf("seed %d: %d steps with %v, then %d with %v", seed, first.Done, first.Failures, again.Done, again.Failures)
		}
		if first = again; len(first.Failures) == 0 {
			continue
		}
		fails := func(l []Step) bool {
			for range tries {
				if len(run(t, folder, seed, l, FreeBeforeUnlink, nil).Failures) > 0 {
					return true
				}
			}
			return false
		}
		short := Shrink(list[:first.Done], 40, fails)
		if len(short) > first.Done*9/10 || !fails(short) {
			t.Errorf("%d steps of %d are left, and fail: %v", len(short), first.Done, fails(short))
		}
		t.Logf("seed %d: %d steps of %d are enough: %s", seed, len(short), first.Done, fmt.Sprint(short))
		return
	}
	t.Error("no seed fails")
}
