package lab_test

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/lab"
)

// A lab with Causeway: the agent can be killed and started again, and the controller too.
func TestLabWithCauseway(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 2})
	ctx := t.Context()
	for _, pool := range []string{"ippool-v4.yaml", "ippool-v6.yaml"} {
		if err := l.Apply(ctx, filepath.Join(l.Repo, "config", "samples", pool)); err != nil {
			t.Fatal(err)
		}
	}
	var pods []*lab.Pod
	for _, n := range l.Nodes {
		p, err := l.StartPod(ctx, n, "default/"+n.Name, lab.PodOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	l.Eventually(t, 20*time.Second, "every pod reaches every other", func() error { return lab.PingMatrix(ctx, pods) })

	if err := l.Nodes[0].StopAgent(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := l.StopController("controller", syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := lab.PingMatrix(ctx, pods); err != nil {
		t.Error(err)
	}
	if err := l.StartController("controller-2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Nodes[0].StartAgent(); err != nil {
		t.Fatal(err)
	}
	l.Eventually(t, 20*time.Second, "CNI works again", func() error { return pods[0].CNI(ctx, "status").Run() })
	for _, p := range pods {
		if err := l.StopPod(ctx, p); err != nil {
			t.Error(err)
		}
	}
}
