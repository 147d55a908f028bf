package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

const checkpointFile = "/run/causeway/checkpoint"

// awaitCheckpoint waits until a node has saved all blocks.
func awaitCheckpoint(t *testing.T, l *lab.Lab, n *lab.Node) {
	t.Helper()
	ctx := t.Context()
	l.Eventually(t, lab.Settle, "the checkpoint of "+n.Name+" has all blocks", func() error {
		var blocks v1alpha1.IPBlockList
		if err := l.Client.List(ctx, &blocks); err != nil {
			return err
		}
		saved, err := n.Run(ctx, "cat", checkpointFile)
		if err != nil {
			return err
		}
		for _, b := range blocks.Items {
			if !strings.Contains(saved, `"`+b.Spec.CIDR+`"`) {
				return fmt.Errorf("block %s is missing", b.Spec.CIDR)
			}
		}
		return nil
	})
}

func restartAgent(t *testing.T, n *lab.Node) {
	t.Helper()
	if err := n.StopAgent(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := n.StartAgent(); err != nil {
		t.Fatal(err)
	}
}

// The API server goes, the agent is killed and started again, twice: pods start, end, are checked and mended all the same.
func TestAnAgentStartsWithoutTheAPIServer(t *testing.T) {
	l, pods := startWithPods(t, lab.Options{})
	ctx, n := t.Context(), l.Nodes[0]
	early := l.MustStartPod(t, 0, "default/early")
	mustRecord(t, l, early)
	awaitCheckpoint(t, l, n)
	stop := traffic(t, pods[0], pods[2])
	l.Kill()
	restartAgent(t, n)
	stays, err := l.StartPod(ctx, n, "default/stays", lab.PodOptions{NoObject: true})
	if err != nil {
		t.Fatalf("ADD without the API server: %v", err)
	}
	goes, err := l.StartPod(ctx, n, "default/goes", lab.PodOptions{NoObject: true})
	if err != nil {
		t.Fatalf("ADD without the API server: %v", err)
	}
	if err := del(ctx, early); err != nil {
		t.Errorf("DEL without the API server: %v", err)
	}
	restartAgent(t, n)
	for _, p := range []*lab.Pod{stays, pods[0]} {
		if out, err := p.CNI(ctx, "check").CombinedOutput(); err != nil {
			t.Errorf("CHECK of %s without the API server: %v: %s", p.Key(), err, out)
		}
	}
	if err := del(ctx, goes); err != nil {
		t.Errorf("DEL without the API server: %v", err)
	}
	late, err := l.StartPod(ctx, n, "default/late", lab.PodOptions{NoObject: true})
	if err != nil {
		t.Fatalf("ADD without the API server: %v", err)
	}
	for _, p := range []*lab.Pod{early, goes} { // their records may still be there, so their addresses are not free
		if late.V4() == p.V4() || stays.V4() == p.V4() {
			t.Errorf("the address %s of %s was given away before the API server knew that it is free", p.V4(), p.Key())
		}
	}
	for window, want := range map[string][]string{
		"book": {"held by default/stays eth0", "in transition by default/early eth0", "its WorkloadEndpoint is to be removed when the API server answers again"},
		"plan": {stays.V4().String() + " dev cw", "table inet causeway"},
	} {
		out, err := n.Run(ctx, l.Bin("causeway-agent"), "debug", window)
		for _, part := range want {
			if err != nil || !strings.Contains(out, part) {
				t.Errorf("causeway-agent debug %s: %v, want %q in\n%s", window, err, part, out)
			}
		}
	}
	stop("agent restarted without the API server")
	for _, damage := range []string{
		"ip route del " + late.V4().String(),
		"ip route | grep 'via .* proto 202' | head -1 | cut -d' ' -f1 | xargs ip route del",
		"ip link del $(ip -o link show type veth | grep -o 'cw[0-9a-f]\\{11\\}' | head -1)",
		"nft delete table inet causeway",
	} {
		if out, err := n.Run(ctx, "sh", "-c", damage); err != nil {
			t.Fatalf("%s: %v: %s", damage, err, out)
		}
	}
	l.Eventually(t, lab.Settle, "the node mends routes, links and filters without the API server", func() error {
		if out, err := n.Run(ctx, "nft", "list", "table", "inet", "causeway"); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return lab.PingMatrix(ctx, []*lab.Pod{pods[0], pods[1], pods[2], stays, late})
	})
	if err := l.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	l.Eventually(t, lab.Settle, "the records are as the pods are", func() error {
		for _, p := range []*lab.Pod{early, goes} {
			if _, err := record(ctx, l, p); err == nil {
				return fmt.Errorf("%s, which is gone, has a record", p.Key())
			}
		}
		for _, p := range []*lab.Pod{stays, late, pods[0]} {
			if _, err := record(ctx, l, p); err != nil {
				return err
			}
		}
		return n.Ready(ctx)
	})
	checkConsistent(t, l)
	again := l.MustStartPod(t, 0, "default/again")
	l.AwaitMatrix(t, []*lab.Pod{pods[2], stays, late, again})
}

// longOutage is how long an API server must be away until watches that each try by themselves would try every half minute only.
const longOutage = 20 * time.Second

// An agent that finds a damaged checkpoint and no API server lets pods go, starts none, and takes nothing away. Soon after the API server's
// return it starts pods.
func TestADamagedCheckpointIsIgnored(t *testing.T) {
	l, pods := startWithPods(t, lab.Options{})
	ctx, n := t.Context(), l.Nodes[0]
	goes := l.MustStartPod(t, 0, "default/goes")
	mustRecord(t, l, goes)
	awaitCheckpoint(t, l, n)
	stop := traffic(t, pods[0], pods[2])
	l.Kill()
	if err := n.StopAgent(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if out, err := n.Run(ctx, "sh", "-c", "head -c 700 "+checkpointFile+" > /tmp/half && mv /tmp/half "+checkpointFile); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := n.StartAgent(); err != nil {
		t.Fatal(err)
	}
	outage := time.After(longOutage)
	if err := del(ctx, goes); err != nil {
		t.Errorf("DEL: %v", err)
	}
	if out, err := pods[0].CNI(ctx, "check").CombinedOutput(); err != nil {
		t.Errorf("CHECK: %v: %s", err, out)
	}
	_, err := l.StartPod(ctx, n, "default/waits", lab.PodOptions{NoObject: true})
	wantError(t, err, "try again later", "without a checkpoint")
	log, err := os.ReadFile(n.AgentLog())
	if err != nil || !strings.Contains(string(log), "Ignores the checkpoint") {
		t.Errorf("the log does not say that the checkpoint is ignored (%v)", err)
	}
	<-outage
	if err := l.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	var after *lab.Pod
	l.Eventually(t, lab.Settle, "the pod that went has no record, and new ones start", func() (err error) {
		if _, err := record(ctx, l, goes); err == nil {
			return errors.New("it has one")
		}
		if after, err = l.StartPod(ctx, n, "default/after", lab.PodOptions{NoObject: true}); err != nil {
			return errors.Join(err, del(ctx, after))
		}
		return nil
	})
	if took := time.Since(back); took > 10*time.Second {
		t.Errorf("a pod could start %s after the API server had come back", took)
	}
	stop("agent restarted without API server and checkpoint")
	l.AwaitMatrix(t, append(pods, after))
	checkConsistent(t, l)
}
