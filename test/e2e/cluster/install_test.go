package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// An agent comes to a node and leaves it for good. The CNI configuration is there from the moment when the agent can serve to
// the moment when it goes; probes tell the same. The node afterwards equals the node before.
func TestANodeBeforeAndAfterCauseway(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 2, NoAgents: true})
	ctx, n := t.Context(), l.Nodes[0]
	plugins := l.Dir + "/plugins-of-" + n.Name
	do := func(argv ...string) string {
		t.Helper()
		out, err := n.Run(ctx, argv...)
		if err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
		return out
	}
	do("rm", conflistPath)
	l.Eventually(t, lab.Settle, "addresses are settled", func() error {
		if strings.Contains(do("ip", "-6", "address"), "tentative") {
			return errors.New("duplicate address detection goes on")
		}
		return nil
	})
	before := picture(ctx, t, n)

	do(l.Bin("causeway-agent"), "install", "--cni-bin-dir="+plugins)
	flags := []string{"--cni-conf-dir=/etc/cni/net.d", "--cni-bin-dir=" + plugins, "--health-probe-bind-address=127.0.0.1:9440"}
	for _, each := range l.Nodes {
		if err := each.StartAgent(flags...); err != nil {
			t.Fatal(err)
		}
	}
	l.Create(t, pool("four", "10.211.0.0/16", func(s *v1alpha1.IPPoolSpec) {
		s.Encapsulation, s.NATOutgoing = v1alpha1.EncapsulationVXLAN, true
	}))
	l.Eventually(t, lab.Settle, "the agent has written the CNI configuration", func() error {
		if out, err := n.Run(ctx, "cat", conflistPath); err != nil || !strings.Contains(out, `"cniVersion": "1.1.0"`) {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	for _, path := range []string{"/livez", "/readyz"} {
		if answer := probe(ctx, n, path); !strings.Contains(answer, "200 OK") {
			t.Errorf("%s: %s", path, answer)
		}
	}
	pods := l.PodsOnAll(t, "pod")
	l.AwaitMatrix(t, pods)

	t.Log("a mere restart leaves the configuration to the next agent; here none will come, since there is no DaemonSet")
	if out, err := n.Run(ctx, l.Bin("causeway-agent"), "cleanup", "--cni-bin-dir="+plugins); err == nil || !strings.Contains(out, "still answers") {
		t.Errorf("cleaned up under a running agent: %v: %s", err, out)
	}
	if err := n.StopAgent(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if out, err := n.Run(ctx, "ls", conflistPath); err == nil {
		t.Errorf("the configuration outlives the last agent: %s", out)
	}
	do(l.Bin("causeway-agent"), "cleanup", "--cni-bin-dir="+plugins)
	if after := picture(ctx, t, n); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if out := do("ls", "-A", plugins); out != "" {
		t.Errorf("left in the folder of plugins: %s", out)
	}
}

// picture is what a look at a node shows.
func picture(ctx context.Context, t *testing.T, n *lab.Node) string {
	t.Helper()
	var out strings.Builder
	for _, command := range []string{
		"ip -br link", "ip -br address", "ip -4 route show table all", "ip -6 route show table all", "ip rule", "ip -6 rule",
		"ip neighbour show nud permanent", "bridge fdb", "nft list ruleset", "ls -A /etc/cni/net.d", "ls -A /run",
	} {
		text, err := n.Run(ctx, strings.Fields(command)...)
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, text)
		}
		out.WriteString("# " + command + "\n" + text + "\n")
	}
	return out.String()
}

// probe asks as a kubelet does.
func probe(ctx context.Context, n *lab.Node, path string) string {
	out, _ := n.Run(ctx, "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/127.0.0.1/9440; printf 'GET %s HTTP/1.0\r\n\r\n' >&3; cat <&3`, path)) // the answer says all
	return out
}
