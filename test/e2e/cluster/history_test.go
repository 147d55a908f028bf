package cluster_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/history"
	"github.com/causeway-net/causeway/test/lab"
)

// Pods come and go on two nodes whose agents are killed again and again. What the plugin's callers saw must have an order in
// which each address had one holder at a time. There are few addresses, so each is used several times.
func TestAnAddressHasOneHolderAtATime(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	ctx := t.Context()
	l.Create(t, pool("pool", "10.211.0.0/27", func(s *v1alpha1.IPPoolSpec) {
		bits := int32(30)
		s.BlockSize = &bits
	}))
	var h history.History
	var workers sync.WaitGroup
	for worker := range 10 {
		n := l.Nodes[worker%2]
		workers.Go(func() {
			for round := range 6 {
				key := fmt.Sprintf("default/churn-%d-%d", worker, round)
				added := h.Add(key)
				p, err := l.StartPod(ctx, n, key, lab.PodOptions{})
				if p == nil {
					t.Errorf("make %s: %v", key, err)
					return
				}
				if err == nil {
					added(p.Addresses)
				}
				deleted := h.Del(key, p.Addresses)
				l.Eventually(t, lab.Settle, "DEL of "+key+" succeeds", func() error { return l.StopPod(ctx, p) })
				if err == nil {
					deleted()
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		workers.Wait()
		close(done)
	}()
	kills := 0
	for ended := false; !ended; kills++ {
		n := l.Nodes[kills%2]
		if err := n.StopAgent(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := n.StartAgent(); err != nil {
			t.Fatal(err)
		}
		before := h.Len()
		l.Eventually(t, lab.Settle, "calls go on after the agent was killed", func() error {
			select {
			case <-done:
				ended = true
				return nil
			default:
			}
			if h.Len() < before+2 {
				return fmt.Errorf("%d calls in all", h.Len())
			}
			return nil
		})
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
	if h.Len() < 40 {
		t.Errorf("only %d calls succeeded under %d kills", h.Len(), kills)
	}
	t.Logf("%d calls under %d kills", h.Len(), kills)
	l.Eventually(t, lab.Settle, "no record is left", func() error { return noRecords(ctx, l) })
}
