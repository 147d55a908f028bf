package cluster

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

func testFile(t *testing.T) File {
	t.Helper()
	return File{Path: filepath.Join(t.TempDir(), "view"), Of: Identity{Node: "n1", Boot: "b1", Cluster: "c1"}}
}

// restore shows what a file holds, as the agent does at its start.
func restore(v *View, f File) (time.Time, error) {
	var saved SavedView
	at, err := f.Load(&saved)
	if err == nil {
		v.Restore(&saved)
	}
	return at, err
}

func TestAViewComesBackFromItsCheckpoint(t *testing.T) {
	v, _ := liveView()
	v.poolHandler().Set(testPool(nil))
	v.blockHandler().Set(block("10.0.0.0/26", "n1"))
	v.blockHandler().Set(block("10.0.0.64/26", "n2"))
	v.setNetwork("n2", []netip.Prefix{netip.MustParsePrefix("192.168.0.2/24")})
	v.nodeHandler().Set(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a"}}})
	reserved, _ := reservation.Parse([]string{"10.0.0.7"}, netip.Prefix{})
	v.setReservation("printer", reserved)
	v.setNamespace("default", Namespace{Labels: map[string]string{"team": "blue"}, Annotations: map[string]string{v1alpha1.AnnotationPools: "p"}})
	f := testFile(t)
	saved := time.Unix(1000, 0)
	if err := f.Save(v.Snapshot(), saved); err != nil {
		t.Fatal(err)
	}
	var told Change
	restored := NewView("n1", func(c Change) { told |= c })
	if restored.Snapshot() != nil {
		t.Error("a view that knows nothing wants to be saved over the checkpoint")
	}
	at, err := restore(restored, f)
	if err != nil || !at.Equal(saved) || restored.Origin() != Saved {
		t.Fatalf("restored %v, saved at %s, origin %d", err, at, restored.Origin())
	}
	own := restored.OwnBlocks()
	node, ok := restored.Node()
	namespace, known := restored.Namespace("default")
	if len(restored.Pools()) != 1 || !restored.Pools()[0].Route.Equal(v.Pools()[0].Route) || len(restored.BlocksSince(0).Set) != 2 || len(own) != 1 ||
		len(own[0].NodeAddresses) != 1 || len(restored.NodeNetworks().Addresses) != 1 || !ok || node.Labels["zone"] != "a" ||
		!restored.Reserved().Equal(reserved) || !known || namespace.Annotations[v1alpha1.AnnotationPools] != "p" || namespace.Labels["team"] != "blue" {
		t.Errorf("restored pools %v, blocks %v, nodes %v, node %v, namespace %v", restored.Pools(), restored.BlocksSince(0).Set, restored.NodeNetworks().Addresses, node, namespace)
	}
	// What the API server tells bit by bit is shown when it is whole.
	restored.blockHandler().Set(block("10.0.0.128/26", "n1"))
	if len(restored.OwnBlocks()) != 1 || told != 0 {
		t.Errorf("half a list is shown: %v, told %b", restored.OwnBlocks(), told)
	}
	restored.goLive()
	if got := restored.OwnBlocks(); len(got) != 1 || got[0].CIDR.String() != "10.0.0.128/26" || told != everything || len(restored.Pools()) != 0 {
		t.Errorf("the API server's view is %v, told %b", got, told)
	}
	if _, err := restore(restored, f); err != nil || restored.Origin() != Live {
		t.Error("a late checkpoint went over what the API server tells")
	}
}

func TestForeignAndDamagedCheckpointsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		harm       func(t *testing.T, f *File)
	}{
		{"another node", "is of node", func(_ *testing.T, f *File) { f.Of.Node = "n2" }},
		{"a reboot", "before the last reboot", func(_ *testing.T, f *File) { f.Of.Boot = "b2" }},
		{"another cluster", "another cluster", func(_ *testing.T, f *File) { f.Of.Cluster = "c2" }},
		{"a flipped byte", "checksum", func(t *testing.T, f *File) {
			rewrite(t, f.Path, func(s string) string { return strings.Replace(s, "192.168.0.9", "192.168.0.8", 1) })
		}},
		{"cut off", "checksum", func(t *testing.T, f *File) { rewrite(t, f.Path, func(s string) string { return s[:len(s)-20] }) }},
		{"cut off in the first line", "damaged", func(t *testing.T, f *File) { rewrite(t, f.Path, func(s string) string { return s[:10] }) }},
		{"empty", "damaged", func(t *testing.T, f *File) { rewrite(t, f.Path, func(string) string { return "" }) }},
		{"a later version", "version", func(t *testing.T, f *File) {
			rewrite(t, f.Path, func(s string) string { return strings.Replace(s, `"version":2`, `"version":3`, 1) })
		}},
		{"missing", ErrNoCheckpoint.Error(), func(t *testing.T, f *File) {
			if err := os.Remove(f.Path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, _ := liveView()
			v.blockHandler().Set(block("10.0.0.0/26", "n1"))
			f := testFile(t)
			if err := f.Save(v.Snapshot(), time.Now()); err != nil {
				t.Fatal(err)
			}
			tc.harm(t, &f)
			restored := NewView("n1", func(Change) {})
			_, err := restore(restored, f)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if restored.Origin() != Nowhere || len(restored.BlocksSince(0).Set) != 0 {
				t.Errorf("half of it is shown: %v", restored.BlocksSince(0).Set)
			}
		})
	}
}

func rewrite(t *testing.T, path string, change func(string) string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(raw))), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheIdentityTellsClustersApart(t *testing.T) {
	a, err1 := IdentityOf("n", &rest.Config{Host: "https://a", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("x")}})
	b, err2 := IdentityOf("n", &rest.Config{Host: "https://a", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("y")}})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if a.Cluster == b.Cluster || a.Boot == "" || a.Boot != b.Boot {
		t.Errorf("got %+v and %+v", a, b)
	}
}

func TestAKeeperWritesRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := testFile(t)
		var reads atomic.Int64
		k := NewKeeper(f, func() any { return map[string]int64{"reads": reads.Add(1)} }, logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()
		for range 100 { // pods come for ten seconds
			k.Wake(5 * time.Second)
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if n := reads.Load(); n != 2 && n != 1 {
			t.Errorf("%d writes in ten seconds, want one in five", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		quiet := reads.Load()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := reads.Load(); n != quiet {
			t.Errorf("%d writes in a quiet hour", n-quiet)
		}
		k.Wake(time.Minute)
		k.Wake(time.Second) // something more important
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := reads.Load(); n != quiet+1 {
			t.Errorf("a more urgent change waits for the one before: %d writes", n-quiet)
		}
		k.Wake(time.Minute)
		cancel()
		<-done
		var got map[string]int64
		if _, err := f.Load(&got); err != nil || got["reads"] != quiet+2 {
			t.Errorf("the agent ended without saving: %v, %v", got, err)
		}
	})
}

func TestAnOldCheckpointGoesWhenANewOneCannotBeWritten(t *testing.T) {
	f := testFile(t)
	if err := f.Save("old", time.Now()); err != nil {
		t.Fatal(err)
	}
	k := NewKeeper(f, func() any { return func() {} }, logr.Discard()) // a function is no JSON
	if err := k.Save(); err == nil {
		t.Fatal("a function was saved")
	}
	var got string
	if _, err := f.Load(&got); !errors.Is(err, ErrNoCheckpoint) {
		t.Errorf("the old checkpoint is still there: %v, %q", err, got)
	}
}

func TestCallsThatComeDuringAWriteShareTheNext(t *testing.T) {
	reads, begun, gate := 0, make(chan struct{}, 100), make(chan struct{})
	k := NewKeeper(testFile(t), func() any { reads++; begun <- struct{}{}; <-gate; return reads }, logr.Discard())
	var calls sync.WaitGroup
	for range 100 {
		calls.Go(func() {
			if err := k.Save(); err != nil {
				t.Error(err)
			}
		})
	}
	<-begun
	for { // until all have asked
		k.mu.Lock()
		asked := k.asked
		k.mu.Unlock()
		if asked == 100 {
			break
		}
		runtime.Gosched()
	}
	close(gate)
	calls.Wait()
	if reads > 2 {
		t.Errorf("100 calls at once made %d writes", reads)
	}
	if err := k.Save(); err != nil {
		t.Error(err)
	}
	var got int
	if _, err := k.file.Load(&got); err != nil || got != reads {
		t.Errorf("the file has write %d of %d, %v", got, reads, err)
	}
}
