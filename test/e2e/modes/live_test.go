package modes_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/lab"
)

const (
	pingsPerChange = 300 // in 3 s
	pingsBefore    = 50
	lossLimit      = 1.0 // percent
)

// stop ends a command that would run on.
func stop(t *testing.T, c *lab.Cmd) {
	t.Helper()
	_ = c.Signal(syscall.SIGTERM) // It ends with the test's context too.
	_ = c.Wait()                  // It was told to.
}

// live changes the pool from every mode to every other one, while a pod on each node pings each other pod 100 times a
// second, and a TCP connection between each two lasts through all changes.
func (c *cluster) live(t *testing.T, modes []mode) {
	c.change(t, modes[0].encapsulation, true)
	c.startPods(t, "live")
	pods := []*lab.Pod{c.a1, c.b, c.c}
	streams := c.streams(t, pods)
	least := modes[0].mtu
	for _, to := range tour(modes) {
		from := c.encapsulation(t)
		least = min(least, to.mtu)
		t.Run(fmt.Sprintf("%s to %s", from, to.encapsulation), func(t *testing.T) {
			pings := startPings(t, pods)
			c.run(t, pods[0], "ping", "-n", "-q", "-i0.01", "-c"+strconv.Itoa(pingsBefore), pods[1].V4().String())
			took := c.change(t, to.encapsulation, true)
			if !pings.running() {
				t.Errorf("the change took %s, longer than the pings: this measures nothing", took)
			}
			c.judge(t, pings, took)
			for _, p := range pods {
				if err := matches(c.run(t, p, "ip", "link", "show", "dev", "eth0"), fmt.Sprintf(` mtu %d `, least)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for name, s := range streams {
		report, err := s.Stop()
		if err != nil || report.Broken != "" || report.Messages < 100 {
			t.Errorf("TCP %s: %v %+v", name, err, report)
		}
		t.Logf("TCP %s: %d messages, longest stall %d ms", name, report.Messages, report.LongestStallMilliseconds)
	}
}

// tour visits modes, the first one being where it starts, so that each goes to each other once. (Take the modes as a
// graph with an edge each way: every prefix of this walk that ends with the first mode has used all edges among those
// that it has seen.)
func tour(modes []mode) []mode {
	var out []mode
	for i := 1; i < len(modes); i++ {
		for j := 1; j < i; j++ {
			out = append(out, modes[i], modes[j])
		}
		out = append(out, modes[i], modes[0])
	}
	return out
}

// TestTour visits every change once.
func TestTour(t *testing.T) {
	modes := []mode{none, ipipAll, ipipCross, vxlanAll, vxlanCross}
	seen, at := map[string]int{}, modes[0]
	for _, to := range tour(modes) {
		seen[string(at.encapsulation+">"+to.encapsulation)]++
		at = to
	}
	if len(seen) != 20 {
		t.Errorf("%d changes: %v", len(seen), seen)
	}
	for name, times := range seen {
		if times != 1 {
			t.Errorf("%s: %d times", name, times)
		}
	}
}

// pings are those of one change.
type pings struct {
	names []string
	cmds  []*lab.Cmd
	outs  []string
	errs  []error
	done  sync.WaitGroup
}

func startPings(t *testing.T, pods []*lab.Pod) *pings {
	t.Helper()
	p := &pings{}
	for _, from := range pods {
		for _, to := range pods {
			if from == to {
				continue
			}
			p.names = append(p.names, from.Node.Name+">"+to.Node.Name)
			p.cmds = append(p.cmds, pingFor(t, from, to.V4()))
		}
	}
	p.outs, p.errs = make([]string, len(p.cmds)), make([]error, len(p.cmds))
	for i, cmd := range p.cmds {
		p.done.Go(func() { p.outs[i], p.errs[i] = cmd.CombinedOutput() })
	}
	return p
}

// pingFor is a ping that ends by itself, so that no packet is counted while it is on its way.
func pingFor(t *testing.T, from lab.Place, to netip.Addr) *lab.Cmd {
	return from.Command(t.Context(), "ping", "-n", "-q", "-i0.01", "-W1", "-c"+strconv.Itoa(pingsPerChange), to.String())
}

func (p *pings) running() bool {
	for _, c := range p.cmds {
		if !c.Running() {
			return false
		}
	}
	return true
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// judge waits for the pings' end and prints what was lost.
func (c *cluster) judge(t *testing.T, p *pings, took time.Duration) {
	t.Helper()
	p.done.Wait()
	sum, text := lab.PingLoss{}, ""
	for i, name := range p.names {
		m := pingSummary.FindStringSubmatch(p.outs[i])
		if m == nil {
			t.Errorf("ping %s: %v: %s", name, p.errs[i], p.outs[i])
			continue
		}
		loss := lab.PingLoss{Sent: number(m[1]), Received: number(m[2])}
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

// streams starts a TCP connection between each two pods.
func (c *cluster) streams(t *testing.T, pods []*lab.Pod) map[string]*lab.Stream {
	t.Helper()
	streams := map[string]*lab.Stream{}
	for i, from := range pods {
		server, err := c.ServeStreams(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(t, server) })
		for _, to := range pods[:i] {
			s, err := c.StartStream(t.Context(), from, to.V4())
			if err != nil {
				t.Fatal(err)
			}
			streams[from.Node.Name+">"+to.Node.Name] = s
		}
	}
	return streams
}
