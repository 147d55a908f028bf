package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/retry"
)

// Eventually waits until a condition holds. When the limit passes, it prints the state of the lab, and the test ends.
func (l *Lab) Eventually(t testing.TB, limit time.Duration, what string, condition func() error) {
	t.Helper()
	if err := retry.Until(t.Context(), limit, condition); err != nil {
		t.Fatalf("not within %s: %s: %v", limit, what, err)
	}
}

// Dump prints the state of every node and the objects of the cluster.
func (l *Lab) Dump(ctx context.Context, w io.Writer) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, n := range l.Nodes {
		const script = `for c in "ip -d addr" "ip route show table all" "ip -6 route" "ip neigh" "bridge fdb" "nft list ruleset"; do
echo "# $c"; $c; done`
		out, err := n.Run(ctx, "sh", "-c", script)
		fmt.Fprintf(w, "==== %s (%v)\n%s\n# agent log\n%s\n", n.Name, err, out, tail(n.AgentLog(), 6000))
	}
	for name := range l.started {
		fmt.Fprintf(w, "==== log of %s\n%s\n", name, tail(l.Dir+"/"+name+".log", 6000))
	}
	if l.ControlPlane != nil {
		out, err := l.Kubectl(ctx, "get", "ippools,ipblocks,nodenetworks,workloadendpoints,bgppeers,bgpconfigurations", "-A", "-o", "yaml")
		fmt.Fprintf(w, "==== objects (%v)\n%s\n", err, out)
	}
}

// Kubectl runs kubectl as the administrator.
func (l *Lab) Kubectl(ctx context.Context, args ...string) (string, error) {
	return l.Command(ctx, append([]string{l.Bin("kubectl"), "--kubeconfig=" + l.AdminKubeconfig()}, args...)...).CombinedOutput()
}

func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	s := string(text)
	if len(s) > n {
		s = "..." + s[len(s)-n:]
	}
	return strings.TrimSpace(s)
}
