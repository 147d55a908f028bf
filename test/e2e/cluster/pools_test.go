package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

func TestPoolsFillOverlapAndEnd(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	ctx := t.Context()

	t.Run("no pool", func(t *testing.T) {
		p, err := l.StartPod(ctx, l.Nodes[0], "default/none", lab.PodOptions{})
		wantError(t, err, "No IPPool")
		if err := l.StopPod(ctx, p); err != nil {
			t.Error(err)
		}
	})
	t.Run("full", func(t *testing.T) {
		l.Create(t, pool("small", "10.50.0.0/28", blockSize(30))) // four blocks of three addresses
		var up []*lab.Pod
		var full error
		for i := 0; full == nil && i < 20; i++ {
			p, err := l.StartPod(ctx, l.Nodes[0], fmt.Sprintf("default/full-%d", i), lab.PodOptions{})
			if err != nil {
				full = err
				if err := l.StopPod(ctx, p); err != nil {
					t.Error(err)
				}
				break
			}
			up = append(up, p)
		}
		wantError(t, full, "small", "12")
		if len(up) != 12 {
			t.Errorf("%d pods got an address, want all 12 of the pool, blocks that idle nodes gave back included", len(up))
		}
		l.Create(t, pool("more", "10.51.0.0/24", nil))
		l.Eventually(t, lab.Settle, "another pool serves", func() error {
			p, err := l.StartPod(ctx, l.Nodes[0], "default/more", lab.PodOptions{NoObject: true})
			if err != nil {
				_ = del(ctx, p)
				return err
			}
			up = append(up, p)
			return nil
		})
		checkConsistent(t, l)
		for _, p := range up {
			if err := del(ctx, p); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("overlapping", func(t *testing.T) {
		l.Create(t, pool("over", "10.51.0.0/16", nil))
		l.Eventually(t, lab.Settle, "the younger pool says what it overlaps", func() error {
			s, err := poolStatus(ctx, l, "over")
			if err != nil {
				return err
			}
			c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionOverlapping)
			if c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "more") || s.Blocks != 0 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	})
	t.Run("terminating", func(t *testing.T) {
		p := l.MustStartPod(t, 1, "default/last")
		name := mustRecord(t, l, p).Spec.Pools[0]
		if err := l.Client.Delete(ctx, pool(name, "10.0.0.0/8", nil)); err != nil {
			t.Fatal(err)
		}
		l.Eventually(t, lab.Settle, "the pool waits for its last address", func() error {
			s, err := poolStatus(ctx, l, name)
			if err == nil && !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionTerminating) {
				return fmt.Errorf("%+v", s)
			}
			return err
		})
		if err := lab.Ping(ctx, p, l.Nodes[0].V4); err != nil {
			t.Error(err)
		}
		if err := l.StopPod(ctx, p); err != nil {
			t.Fatal(err)
		}
		l.Eventually(t, lab.Settle, "the pool is gone", func() error {
			if _, err := poolStatus(ctx, l, name); err == nil {
				return fmt.Errorf("pool %s is there", name)
			}
			return nil
		})
	})
}

func TestSelectorsAndAnnotations(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	ctx := t.Context()
	l.Create(t, pool("all", "10.60.0.0/16", nil))
	l.Create(t, pool("first-node", "10.61.0.0/16", func(s *v1alpha1.IPPoolSpec) {
		s.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/hostname": l.Nodes[0].Name}}
	}))
	l.Create(t, pool("manual", "10.62.0.0/16", func(s *v1alpha1.IPPoolSpec) { s.AssignmentMode = v1alpha1.AssignmentManual }))
	l.Create(t, pool("team", "10.63.0.0/16", func(s *v1alpha1.IPPoolSpec) {
		s.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "team"}}
	}))
	l.Eventually(t, lab.Settle, "pools are ready", func() error {
		for _, name := range []string{"all", "first-node", "manual", "team"} {
			if s, err := poolStatus(ctx, l, name); err != nil || s.NodesReady != 3 {
				return fmt.Errorf("pool %s: %w: %+v", name, err, s)
			}
		}
		return nil
	})
	poolOf := func(p *lab.Pod) string { return mustRecord(t, l, p).Spec.Pools[0] }
	if got := poolOf(l.MustStartPod(t, 2, "default/a")); got != "all" {
		t.Errorf("a pod of another node got pool %s", got)
	}
	if got := poolOf(l.MustStartPod(t, 2, "team/a")); got != "team" {
		t.Errorf("a pod of the team got pool %s", got)
	}
	if out, err := l.Kubectl(ctx, "annotate", "namespace", "default", v1alpha1.AnnotationPools+"=manual"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.Eventually(t, lab.Settle, "the namespace's annotation counts", func() error {
		p, err := l.StartPod(ctx, l.Nodes[1], "default/manual", lab.PodOptions{NoObject: true})
		if err != nil {
			return err
		}
		got := poolOf(p)
		if err := del(ctx, p); err != nil {
			return err
		}
		if got != "manual" {
			return fmt.Errorf("pool %s", got)
		}
		return nil
	})
	for _, args := range [][]string{{"create", "namespace", "thief"}, {"annotate", "namespace", "thief", v1alpha1.AnnotationPools + "=team"}} {
		if out, err := l.Kubectl(ctx, args...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	l.Eventually(t, lab.Settle, "a pool that is asked for by name serves no namespace that it does not select", func() error {
		p, err := l.StartPod(ctx, l.Nodes[1], "thief/a", lab.PodOptions{NoObject: true})
		if err == nil {
			return errors.Join(fmt.Errorf("the pod got %v", p.Addresses), del(ctx, p))
		}
		if !strings.Contains(err.Error(), "IPPool team") || !strings.Contains(err.Error(), "may not serve namespace thief") {
			return err
		}
		return nil
	})
}

func TestAStormOfPodsOnAnEmptyNode(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	ctx := t.Context()
	l.Create(t, pool("pool", "10.70.0.0/16", blockSize(28)))
	var calls sync.WaitGroup
	for i := range 100 {
		calls.Go(func() {
			if _, err := l.StartPod(ctx, l.Nodes[0], fmt.Sprintf("default/storm-%d", i), lab.PodOptions{NoObject: true}); err != nil {
				t.Errorf("pod %d: %v", i, err)
			}
		})
	}
	calls.Wait()
	checkConsistent(t, l)
	l.Eventually(t, lab.Settle, "the pool counts them", func() error {
		s, err := poolStatus(ctx, l, "pool")
		if err == nil && (s.Allocated != 100 || s.Free != s.Capacity-100) {
			return fmt.Errorf("%+v", s)
		}
		return err
	})
}
