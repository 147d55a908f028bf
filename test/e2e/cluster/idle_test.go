package cluster_test

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

var (
	requestLine  = regexp.MustCompile(`(?m)^apiserver_request_total\{(.*)\} (\S+)$`)
	requestLabel = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// requestsOfAgents counts what the API server has answered of the kinds that agents use, leases apart. What an agent writes
// of leases can't be told from what the control plane does.
func requestsOfAgents(ctx context.Context, l *lab.Lab) (requests map[string]int, leases int, err error) {
	text, err := l.Kubectl(ctx, "get", "--raw", "/metrics")
	if err != nil {
		return nil, 0, err
	}
	requests = map[string]int{}
	for _, line := range requestLine.FindAllStringSubmatch(text, -1) {
		of := map[string]string{}
		for _, kv := range requestLabel.FindAllStringSubmatch(line[1], -1) {
			of[kv[1]] = kv[2]
		}
		n, err := strconv.ParseFloat(line[2], 64)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", line[0], err)
		}
		ours := of["group"] == v1alpha1.GroupVersion.Group || of["group"] == "" && (of["resource"] == "nodes" || of["resource"] == "events" || of["resource"] == "pods")
		switch {
		case of["resource"] == "leases" && of["verb"] == "PUT":
			leases += int(n)
		case of["verb"] != "WATCH" && ours: // a watch ends now and then by the API server's will
			requests[of["verb"]+" "+of["resource"]+"/"+of["subresource"]] += int(n)
		}
	}
	return requests, leases, nil
}

// awaitQuiet waits until nothing was asked for a while, and returns what was asked by then.
func awaitQuiet(t *testing.T, l *lab.Lab, quiet time.Duration) (requests map[string]int, leases int) {
	t.Helper()
	last := time.Now()
	l.Eventually(t, 2*time.Minute, "all that pods and pools set off is written", func() error {
		now, n, err := requestsOfAgents(t.Context(), l)
		if err != nil {
			return err
		}
		if !maps.Equal(now, requests) {
			requests, last = now, time.Now()
		}
		if leases = n; time.Since(last) < quiet {
			return fmt.Errorf("the last request was %s ago", time.Since(last))
		}
		return nil
	})
	return requests, leases
}

func TestAnIdleAgentAsksTheAPIServerForNothing(t *testing.T) {
	// All that an agent does from time to time, it does twice in that time.
	const period, idle = 10 * time.Second, 25 * time.Second
	l := lab.Start(t, lab.Options{NoController: true, AgentArgs: []string{"--resync=" + period.String(), "--block-linger=" + period.String()}})
	ctx := t.Context()
	if err := l.StartController("controller"); err != nil {
		t.Fatal(err)
	}
	l.Create(t, pool("pool", "10.211.0.0/16", nil))
	pods := l.PodsOnAll(t, "pod")
	l.AwaitMatrix(t, pods)
	for _, p := range pods {
		mustRecord(t, l, p)
	}
	awaitQuiet(t, l, period+2*time.Second) // Lazy writes wait up to ten seconds.
	// The controller says in an event that it no longer leads, which is none of the agents' requests.
	if err := l.StopController("controller", syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	before, leases := awaitQuiet(t, l, 5*time.Second)
	time.Sleep(idle)
	after, more, err := requestsOfAgents(ctx, l)
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	for what, n := range after {
		if n > before[what] {
			asked = append(asked, fmt.Sprintf("%s: %d", what, n-before[what]))
		}
	}
	if len(asked) > 0 {
		t.Errorf("three idle agents asked in %s: %s", idle, strings.Join(asked, ", "))
	}
	// Three agents and the API server itself renew a lease every ten seconds.
	if n, most := more-leases, 4*int(idle/(10*time.Second))+4; n > most {
		t.Errorf("%d leases were renewed in %s, at most %d should be", n, idle, most)
	}
}
