package tools_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// Scripts that print what a trace may leave on a node, and in a pod: there, sockets but for those that only wait for late packets (06, TIME_WAIT).
const (
	onNode = `nft list tables; ip -o link | cut -d: -f2 | sort; awk 'NR > 1 { print "packet socket", $3, $4, $5 }' /proc/net/packet | sort
awk '$2 == 12 && $4 == "00000100" { print "a listener to nftrace" }' /proc/net/netlink`
	inPod = `cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 /proc/net/raw /proc/net/raw6 |
awk '$2 != "local_address" && $4 != "06" { print $2, $3, $4 }' | sort`
)

// killed kills the agent of node1 in the midst of traces, and finds nothing of them: neither then, nor after the agent has started
// again and the traces have ended.
func killed(t *testing.T, l *lab.Lab, pods []*lab.Pod) {
	node1, unused := l.Nodes[0], pods[1].V4()
	for range 20 {
		unused = unused.Next() // in the block of node2, which drops what is for nobody
	}
	for name, args := range map[string][]string{
		"that sends":   {"trace", pods[0].Name, unused.String() + ":80"},
		"that follows": {"trace", pods[0].Name, pods[1].Name, "--observe"},
	} {
		t.Run(name, func(t *testing.T) {
			before, podBefore := shown(t, node1, onNode), shown(t, pods[0], inPod)
			again, stop := context.WithCancel(t.Context())
			var tracing sync.WaitGroup
			tracing.Go(func() {
				for again.Err() == nil {
					_, _, _ = plugin(again, l, args...) // what it says is not the question here
				}
			})
			l.Eventually(t, lab.Settle, "node1 traces", func() error {
				node, pod := shown(t, node1, onNode), shown(t, pods[0], inPod)
				sends := len(args) == 3
				if !strings.Contains(node, "causeway-trace") || sends && pod == podBefore {
					return fmt.Errorf("%s%s", node, pod)
				}
				return nil
			})
			if err := node1.StopAgent(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			stop()
			tracing.Wait()
			if now := shown(t, node1, onNode); now != before {
				t.Errorf("after the end of the agent node1 shows\n%s\nand before the trace\n%s", now, before)
			}
			if now := shown(t, pods[0], inPod); now != podBefore {
				t.Errorf("after the end of the agent the pod has\n%s\nand before the trace\n%s", now, podBefore)
			}
			if err := node1.StartAgent(); err != nil {
				t.Fatal(err)
			}
			l.Eventually(t, lab.Settle, "node1 and the pod show what they showed before", func() error {
				var asked v1alpha1.PathObservationList
				if err := errors.Join(node1.Ready(t.Context()), l.Client.List(t.Context(), &asked)); err != nil || len(asked.Items) > 0 {
					return errors.Join(err, fmt.Errorf("%d nodes are still asked", len(asked.Items)))
				}
				if now, podNow := shown(t, node1, onNode), shown(t, pods[0], inPod); now != before || podNow != podBefore {
					return fmt.Errorf("now\n%s%s\nbefore\n%s%s", now, podNow, before, podBefore)
				}
				return nil
			})
		})
	}
}

func shown(t *testing.T, at lab.Place, script string) string {
	t.Helper()
	out, err := at.Command(t.Context(), "sh", "-c", script).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// queue asks for more traces than run at a time. All get their turn.
func queue(t *testing.T, l *lab.Lab) {
	var asked sync.WaitGroup
	for range 9 {
		asked.Go(func() {
			if err := says(t.Context(), l, 0, []string{"trace", "pod-0", "pod-1"}, "Answered"); err != nil {
				t.Error(err)
			}
		})
	}
	asked.Wait()
}
