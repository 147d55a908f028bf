package agent

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/node-agent/cluster"
)

func TestWhatMattersIsSavedSoon(t *testing.T) {
	for _, tc := range []struct {
		change cluster.Change
		want   time.Duration
	}{
		{cluster.PoolCounters, saveCounters},
		{cluster.OtherBlocks, saveOthers},
		{cluster.Addresses | cluster.PoolCounters, saveOthers},
		{cluster.Remembered, saveOthers},
		{cluster.OwnBlocks, saveOwn},
		{cluster.OtherBlocks | cluster.PoolUse, saveOwn},
		{cluster.Namespaces, saveOwn},
	} {
		if got := saveWithin(tc.change); got != tc.want {
			t.Errorf("change %b is saved within %s, want %s", tc.change, got, tc.want)
		}
	}
}

func TestOnlyAWholeCheckpointIsUsed(t *testing.T) {
	a := &Agent{log: logr.Discard()}
	file := cluster.File{Path: filepath.Join(t.TempDir(), "checkpoint"), Of: cluster.Identity{Node: "n", Boot: "b", Cluster: "c"}}
	if got := a.restore(file); got != nil {
		t.Errorf("without a file: %+v", got)
	}
	for name, tc := range map[string]struct {
		content any
		used    bool
	}{
		"whole":          {checkpoint{View: &cluster.SavedView{}}, true},
		"without a view": {checkpoint{}, false},
		"something else": {[]int{1}, false},
	} {
		if err := file.Save(tc.content, time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := a.restore(file); (got != nil) != tc.used {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
