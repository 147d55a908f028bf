package simulation

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/go-logr/logr"
)

// Run is one world's life: a seed, what happens, and a planted bug.
type Run struct {
	Seed  uint64
	Steps []Step
	Bug   Bug
	// Trace is told what happens; nil for nobody.
	Trace func(string)
	Log   logr.Logger
}

// Result is how a run ended.
type Result struct {
	// Failures are the invariants that were broken; none if all is well.
	Failures []string
	// Done is how many steps were done, Operations how many there were with those of the quiet time.
	Done, Operations int
	// Digest is the same for two runs in which the same happened.
	Digest  uint64
	Picture string
}

// Do lives a world's life in a bubble of its own.
func (r Run) Do(t *testing.T, folder string) (out Result) {
	synctest.Test(t, func(*testing.T) {
		rand.Seed(int64(r.Seed)) //nolint:staticcheck // client-go's pauses use this source
		dir := filepath.Join(folder, fmt.Sprint("world", r.Seed))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a folder of tests
		w := newWorld(r.Seed, dir, r.Bug, r.Log, r.Trace)
		defer w.end()
		for _, s := range r.Steps {
			w.do(s)
			w.check()
			out.Done++
			if len(w.failures) > 0 {
				break
			}
		}
		if len(w.failures) == 0 {
			w.quiet()
		}
		out.Failures, out.Digest, out.Operations = w.failures, w.digest, w.operations
		if len(w.failures) > 0 {
			out.Picture = w.picture()
		}
	})
	return out
}

// end kills all that runs, so that the bubble can end.
func (w *World) end() {
	for _, m := range w.machines {
		if m.agent != nil {
			w.gate.kill(m.agent.process)
		}
	}
	for _, l := range w.leaders {
		w.gate.kill(l.process)
	}
	synctest.Wait()
}
