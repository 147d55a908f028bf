package modes_test

import (
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/lab"
)

// pings run between each two pods, 100 a second, during one change.
type pings struct {
	names []string
	cmds  []*lab.Cmd
	outs  []*output
}

// output is what a running command has printed so far.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func startPings(t *testing.T, pods []*lab.Pod) *pings {
	t.Helper()
	p := &pings{}
	for _, from := range pods {
		for _, to := range pods {
			if from == to {
				continue
			}
			out := &output{}
			cmd := from.Command(t.Context(), "ping", "-n", "-i0.01", to.V4().String())
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			p.names = append(p.names, from.Node.Name+">"+to.Node.Name)
			p.cmds, p.outs = append(p.cmds, cmd), append(p.outs, out)
		}
	}
	return p
}

var (
	pingAnswer  = regexp.MustCompile(`bytes from \S+ icmp_seq=(\d+) `)
	pingSummary = regexp.MustCompile(`(\d+) packets transmitted, `)
)

// last is the number of the last packet that was answered.
func last(text string) int {
	at := 0
	for _, m := range pingAnswer.FindAllStringSubmatch(text, -1) {
		at = max(at, number(m[1]))
	}
	return at
}

// more waits until each has sent so many more and has been answered again.
func (p *pings) more(t *testing.T, c *cluster, count int) {
	t.Helper()
	var goals []int
	for _, out := range p.outs {
		goals = append(goals, last(out.String())+count)
	}
	for i, out := range p.outs {
		want := goals[i]
		c.Eventually(t, settle, fmt.Sprintf("ping %s comes to packet %d", p.names[i], want), func() error {
			if have := last(out.String()); have < want {
				return fmt.Errorf("it is at %d", have)
			}
			return nil
		})
	}
}

// judge ends the pings and prints what was lost. The last packet of each does not count: it may be on its way.
func (p *pings) judge(t *testing.T, took time.Duration) {
	t.Helper()
	sum, text := lab.PingLoss{}, ""
	for i, name := range p.names {
		_ = p.cmds[i].Signal(syscall.SIGINT) // If it has ended, there is no summary.
		_ = p.cmds[i].Wait()                 // 1 if nothing was answered, which is seen below.
		out := p.outs[i].String()
		summary := pingSummary.FindStringSubmatch(out)
		if summary == nil {
			t.Errorf("ping %s ended without a summary: %s", name, out)
			continue
		}
		loss := lab.PingLoss{Sent: number(summary[1]) - 1}
		answered := map[int]bool{}
		for _, m := range pingAnswer.FindAllStringSubmatch(out, -1) {
			if n := number(m[1]); n <= loss.Sent {
				answered[n] = true
			}
		}
		loss.Received = len(answered)
		sum.Sent, sum.Received = sum.Sent+loss.Sent, sum.Received+loss.Received
		if lost := loss.Sent - loss.Received; lost > 0 {
			text += fmt.Sprintf(", %s %d of %d", name, lost, loss.Sent)
		}
		if loss.Percent() > lossLimit {
			t.Errorf("%s lost %.2f %%, at most %.0f %% may be lost", name, loss.Percent(), lossLimit)
		}
	}
	t.Logf("Ready after %.2f s; %d of %d pings lost (%.2f %%)%s", took.Seconds(), sum.Sent-sum.Received, sum.Sent, sum.Percent(), text)
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits) // The pattern admits digits only.
	return n
}
