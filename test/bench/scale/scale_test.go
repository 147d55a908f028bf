package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/namespaces"
)

func TestMain(m *testing.M) {
	os.Exit(namespaces.Main(m, func() error {
		if err := namespaces.Prepare(); err != nil {
			return err
		}
		return prepareHost(context.Background())
	}))
}

// TestWhatNodesSayAndHear is the part traffic with few nodes, some of which run the agent's code. What a node costs does not
// depend on how many there are, so few are enough to find a write or an event too many.
func TestWhatNodesSayAndHear(t *testing.T) {
	rows := &table{}
	b := &bench{table: rows, options: options{light: 8, idle: renewal, rest: time.Second, renewal: renewal}}
	defer b.close()
	f, err := b.traffic(t.Context(), 8)
	_ = rows.print(os.Stderr) // to explain what fails
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		got, most float64
	}{
		{"renewals of an idle node's lease within one period and a moment", f.idleRenewals, 2}, // one may be at each end
		{"other requests of idle nodes", f.idleOthers, 0},
		{"events each second at an idle node", f.idleEvents, 0},
		{"writes for one pod", f.podWrites, 1},
		{"events at other nodes for one pod", f.podEvents, 0},
		{"events at each other node for one block", f.blockEvents, 1},
		{"writes of other nodes for one block", f.blockWrites, 0},
		{"events at each other node for a node that joins", f.joinEvents, 3}, // its NodeNetwork, with its facts, and its block
		{"writes of other nodes for a node that joins", f.joinWrites, 0},
		{"writes of each node for a mode change", f.modeWrites, 2}, // ready to receive, and sends
	} {
		if c.got > c.most {
			t.Errorf("%s: %.3f, want at most %.3f", c.what, c.got, c.most)
		}
	}
	if f.podWrites < 1 || f.blockEvents < 1 || f.joinEvents < 2 || f.modeWrites < 1 {
		t.Errorf("counted too little: %.2f writes for a pod, %.2f events for a block, %.2f for a node, %.2f writes for a mode change",
			f.podWrites, f.blockEvents, f.joinEvents, f.modeWrites)
	}
	if f.disagreement > 0.01 {
		t.Errorf("the API server's count of events differs by %.1f %% from what came over the wire", 100*f.disagreement)
	}
}
