package lab_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/lab/capture"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// The lab itself, without Causeway: the underlay, pods by the reference plugins, captures, streams, the API server's faults.
func TestLabItself(t *testing.T) {
	conf := `{"cniVersion":"1.0.0","name":"stand-in","plugins":[{"type":"ptp","ipam":{"type":"host-local",
"subnet":"10.99.0.0/24","dataDir":"/run/host-local","routes":[{"dst":"0.0.0.0/0"}]}}]}`
	l := lab.Start(t, lab.Options{NoAgents: true, NoController: true, CNIConfig: conf})
	ctx := t.Context()

	for _, from := range l.Nodes {
		for _, to := range append(l.Nodes, l.Outside) {
			if err := lab.Ping(ctx, from, to.V4); err != nil {
				t.Error(err)
			}
			if err := lab.Ping(ctx, from, to.V6); err != nil {
				t.Error(err)
			}
		}
	}
	// Nodes that come later leave the router's hardware address alone, which the others know.
	router := func() string {
		out, err := l.Command(ctx, "cat", "/sys/class/net/sub-1/address").Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := router()
	for i := range 8 {
		if _, err := l.AddNode(ctx, fmt.Sprintf("later%d", i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if after := router(); after != before {
		t.Errorf("the router's hardware address has changed from %s to %s", before, after)
	}
	if out, err := l.Nodes[2].Run(ctx, "ls", "/run", "/run/netns", "/etc/cni/net.d"); err != nil || !strings.Contains(out, "10-causeway.conflist") {
		t.Errorf("%v: %s", err, out)
	}

	n := l.Nodes[0]
	var pods []*lab.Pod
	for i := range 2 {
		p, err := l.StartPod(ctx, n, fmt.Sprintf("test/pod%d", i), lab.PodOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	c, err := lab.StartCapture(ctx, pods[1], "eth0", "icmp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Run(ctx, "sysctl", "-qw", "net.ipv4.ip_forward=1"); err != nil {
		t.Fatal(err)
	}
	if err := lab.PingMatrix(ctx, pods); err != nil {
		t.Error(err)
	}
	packets, err := c.Stop()
	if err != nil || len(packets) < 4 || packets[0].Protocol != capture.ICMP || packets[0].TTL < 62 {
		t.Errorf("%v: %v", err, packets)
	}
	// A link that is busy when the capture starts: the kernel counts packets that tcpdump leaves out.
	flood := pods[1].Command(ctx, "ping", "-q", "-f", "127.0.0.1")
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	if c, err = lab.StartCapture(ctx, pods[1], "lo", "udp port 4789"); err != nil {
		t.Fatal(err)
	}
	if packets, err = c.Stop(); err != nil || len(packets) > 0 {
		t.Errorf("%v: %v", err, packets)
	}
	if err := flood.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	_ = flood.Wait() // It was ended.

	if _, err := l.ServeStreams(ctx, pods[0]); err != nil {
		t.Fatal(err)
	}
	s, err := l.StartStream(ctx, pods[1], pods[0].V4())
	if err != nil {
		t.Fatal(err)
	}
	stopPings := lab.Pings(t, pods[1], pods[0].V4())
	if err := l.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := l.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := l.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := l.Kubectl(ctx, "get", "pods", "-A"); err != nil || !strings.Contains(out, "pod1") {
		t.Errorf("%v: %s", err, out)
	}
	report, err := s.Stop()
	if err != nil || report.Broken != "" || report.Messages < 10 {
		t.Errorf("%v: %+v", err, report)
	}
	t.Logf("stream %+v", report)
	stopPings("API server away")

	t.Run("a node that discards packets is found out", func(t *testing.T) {
		traffic := l.StartTraffic(t, pods)
		for _, rule := range []string{"add table ip broken", "add chain ip broken forward { type filter hook forward priority 0; }",
			"add rule ip broken forward icmp type echo-request limit rate 1/second drop"} {
			if out, err := n.Run(ctx, "nft", rule); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		traffic.More(t, 200*time.Millisecond)
		o := traffic.End(t)
		if o.Answered == o.Sent || !strings.Contains(o.Verdict.String(), n.Name+" did not forward") {
			t.Errorf("%+v", o)
		}
		if out, err := n.Run(ctx, "nft", "delete table ip broken"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})

	for _, p := range pods {
		if err := l.StopPod(ctx, p); err != nil {
			t.Error(err)
		}
	}
	if out, err := n.Run(ctx, "ls", "/run/netns"); err != nil || out != "" {
		t.Errorf("network namespaces are left: %v %q", err, out)
	}

	sleep := n.Command(ctx, "sleep", "100")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	if err := sleep.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit := (*lab.ExitError)(nil); !errors.As(sleep.Wait(), &exit) || exit.Code != 128+15 {
		t.Errorf("exit: %+v", exit)
	}
	l.Eventually(t, 10*time.Second, "a second pod object is gone", func() error {
		if out, err := l.Kubectl(ctx, "get", "pods", "-n", "test", "-o", "name"); err != nil || out != "" && !strings.Contains(out, "No resources") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
