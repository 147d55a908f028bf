package install

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
)

// The configuration appears when the agent can serve, comes back if somebody removes it, and goes with the last agent.
func TestKeeper(t *testing.T) {
	for _, c := range []struct {
		name   string
		leaves bool
	}{{"the agent restarts", false}, {"the agent leaves for good", true}} {
		t.Run(c.name, func(t *testing.T) {
			conf, plugins := t.TempDir(), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(conf, ConflistFile)
				there := func() bool { _, err := os.Stat(path); return err == nil }
				var serves atomic.Bool
				k := Keeper{ConfFolder: conf, PluginFolder: plugins, Log: logr.Discard(),
					Unavailable: func() error {
						if serves.Load() {
							return nil
						}
						return errors.New("not yet")
					},
					RemovedForGood: func(context.Context) bool { return c.leaves },
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { k.Run(ctx); close(done) }()
				time.Sleep(time.Minute)
				if there() {
					t.Error("the configuration is there before the agent can serve")
				}
				serves.Store(true)
				time.Sleep(time.Second)
				if !there() {
					t.Error("the configuration is not there, though the agent can serve")
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `"1.1.0"`) {
					t.Errorf("it did not come back: %s, %v", text, err)
				}
				cancel()
				<-done
				if there() == c.leaves {
					t.Errorf("afterwards it is there: %v", there())
				}
			})
		})
	}
}
