package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/lab/hops"
	"github.com/causeway-net/causeway/test/retry"
)

const (
	// around is how long pings go on before what a test does, and again after it.
	around = 100 * time.Millisecond
	// answerLimit is the time within which pings must be answered; it does not matter how fast.
	answerLimit = 30 * time.Second
)

// Traffic is pings between pods, one after each interval of Lab.PingInterval, while a test does something that must not disturb them. It judges by
// causes: a packet that one of our nodes discarded, or could not forward, fails the test. A packet that was lost without
// a cause on any node is printed, and is the fault of the machine that the lab runs on.
type Traffic struct {
	lab    *Lab
	pings  []*ping
	pods   map[netip.Addr]string // the node of each address that is pinged or pings
	before map[string]hops.Counts
}

// StartTraffic pings from each pod to each other one, and returns when all are answered.
func (l *Lab) StartTraffic(t testing.TB, pods []*Pod) *Traffic {
	t.Helper()
	tr := l.newTraffic(t)
	for _, from := range pods {
		for _, to := range pods {
			if from != to {
				tr.start(t, from, to.V4())
			}
		}
	}
	tr.begin(t)
	return tr
}

// Pings pings from a pod to an address until stop is called, which fails the test if a packet was lost by a node; what
// says what happened meanwhile.
func Pings(t testing.TB, from *Pod, to netip.Addr) (stop func(what string)) {
	t.Helper()
	tr := from.Node.lab.newTraffic(t)
	tr.start(t, from, to)
	tr.begin(t)
	return func(what string) {
		t.Helper()
		tr.Judge(t, what)
	}
}

func (l *Lab) newTraffic(t testing.TB) *Traffic {
	t.Helper()
	tr := &Traffic{lab: l, pods: map[netip.Addr]string{}}
	var err error
	if tr.before, err = l.countHops(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tr
}

func (tr *Traffic) start(t testing.TB, from *Pod, to netip.Addr) {
	t.Helper()
	p, err := startPing(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	tr.pings = append(tr.pings, p)
	tr.pods[from.V4()], tr.pods[to] = from.Node.Name, tr.lab.nodeOf(to)
}

func (tr *Traffic) begin(t testing.TB) {
	t.Helper()
	tr.More(t, around)
}

// More waits until each ping has sent the packets of so much more time and was answered again. A busy machine takes longer to send them.
func (tr *Traffic) More(t testing.TB, d time.Duration) {
	t.Helper()
	count := int(d / tr.lab.PingInterval())
	goals := make([]int, len(tr.pings))
	for i, p := range tr.pings {
		goals[i] = p.answers.last() + count
	}
	for i, p := range tr.pings {
		if err := retry.Until(t.Context(), answerLimit, func() error {
			if at := p.answers.last(); at < goals[i] {
				return fmt.Errorf("it is at %d", at)
			}
			return nil
		}); err != nil {
			t.Fatalf("ping from %s comes to packet %d: not within %s: %v\n%s", p.name, goals[i], answerLimit, err, tr.verdict(t))
		}
	}
}

// Outcome is what became of the pings.
type Outcome struct {
	Sent, Answered int
	// Text names the pings that lost something.
	Text string
	// Verdict says where, if anything was lost.
	Verdict hops.Verdict
}

// End ends the pings once more of them were answered.
func (tr *Traffic) End(t testing.TB) Outcome {
	t.Helper()
	tr.More(t, around)
	var o Outcome
	for _, p := range tr.pings {
		sent, answered, err := p.stop()
		if err != nil {
			t.Errorf("ping from %s: %v", p.name, err)
		}
		o.Sent, o.Answered = o.Sent+sent, o.Answered+answered
		if sent > answered {
			o.Text += fmt.Sprintf(", %d of %d from %s (%s)", sent-answered, sent, p.name, p.answers.missing())
		}
	}
	if o.Sent > o.Answered {
		o.Verdict = tr.verdict(t)
	}
	return o
}

// Judge ends the pings and fails the test if a node lost any.
func (tr *Traffic) Judge(t testing.TB, what string) {
	t.Helper()
	o := tr.End(t)
	t.Logf("%s: %d of %d pings answered", what, o.Answered, o.Sent)
	switch {
	case len(o.Verdict.Ours) > 0:
		t.Errorf("%s: lost %s, and nodes know why:\n%s", what, strings.TrimPrefix(o.Text, ", "), o.Verdict)
	case o.Sent > o.Answered:
		t.Logf("%s: lost %s, by the machine that the lab runs on: no node counted a cause.\n%s", what, strings.TrimPrefix(o.Text, ", "), o.Verdict)
	}
}

func (tr *Traffic) verdict(t testing.TB) hops.Verdict {
	t.Helper()
	after, err := tr.lab.countHops(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]hops.Counts{}
	for name, c := range after {
		if before, ok := tr.before[name]; ok {
			counted[name] = c.Since(before)
		}
	}
	return hops.Judge(counted, tr.pods)
}

// nodeOf is the name of the node of a pod's address, or nothing.
func (l *Lab) nodeOf(a netip.Addr) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pods {
		if p.V4() == a || p.V6() == a {
			return p.Node.Name
		}
	}
	return ""
}

// countHops reads the counters of all nodes, and gives them to nodes that have none yet.
func (l *Lab) countHops(ctx context.Context) (map[string]hops.Counts, error) {
	l.counting.Lock()
	defer l.counting.Unlock()
	var mu sync.Mutex
	var reads sync.WaitGroup
	var errs []error
	out := map[string]hops.Counts{}
	for _, n := range l.Nodes {
		reads.Go(func() {
			c := n.Command(ctx, "sh", "-ec", "nft list table inet causeway-lab >/dev/null 2>&1 || nft -f -\n"+hops.Script)
			c.Stdin = strings.NewReader(hops.Table)
			text, err := c.Output()
			var counts hops.Counts
			if err == nil {
				counts, err = hops.Parse(text)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("read the counters of %s: %w", n.Name, err))
			}
			out[n.Name] = counts
		})
	}
	reads.Wait()
	return out, errors.Join(errs...)
}

// PingInterval is the time between two packets of one ping. Six pings of 100 packets a second are more than the emulated machine can answer:
// they came at 30 a second, and the agents had to wait for them.
func (l *Lab) PingInterval() time.Duration {
	if l.Kernel == KernelVM {
		return 50 * time.Millisecond
	}
	return 10 * time.Millisecond
}

// ping is a ping that runs until it is stopped.
type ping struct {
	name    string
	cmd     *Cmd
	answers *answers
}

func startPing(ctx context.Context, from *Pod, to netip.Addr) (*ping, error) {
	p := &ping{name: fmt.Sprintf("%s on %s to %s", from.Key(), from.Node.Name, to), answers: &answers{seen: map[int]bool{}}}
	p.cmd = from.Command(ctx, "ping", "-n", fmt.Sprintf("-i%.2f", from.Node.lab.PingInterval().Seconds()), to.String())
	p.cmd.Stdout, p.cmd.Stderr = p.answers, p.answers
	return p, p.cmd.Start()
}

// stop ends the ping and returns what became of its packets. Those after the last one that was answered do not count:
// they were on their way.
func (p *ping) stop() (sent, answered int, err error) {
	_ = p.cmd.Signal(syscall.SIGINT) // If it has ended, its output tells why.
	err = p.cmd.Wait()
	sent, answered = p.answers.count()
	if answered == 0 {
		return 0, 0, fmt.Errorf("nothing was answered (%w): %s", err, p.answers.tail())
	}
	return sent, answered, nil
}

var pingAnswer = regexp.MustCompile(`bytes from \S+ icmp_seq=(\d+) `)

// answers reads what ping prints.
type answers struct {
	mu      sync.Mutex
	text    []byte // what came after the last whole line
	strange []byte // lines that are no answers
	seen    map[int]bool
	highest int
}

func (a *answers) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text = append(a.text, b...)
	for {
		line, rest, whole := bytes.Cut(a.text, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		a.text = rest
		m := pingAnswer.FindSubmatch(line)
		if m == nil {
			a.strange = append(append(a.strange, line...), '\n')
			continue
		}
		n, _ := strconv.Atoi(string(m[1])) // The pattern admits digits only.
		a.seen[n] = true
		a.highest = max(a.highest, n)
	}
}

// last is the number of the last packet that was answered.
func (a *answers) last() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.highest
}

func (a *answers) count() (sent, answered int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.highest, len(a.seen)
}

// missing names the packets that were not answered, and what ping said beside answers.
func (a *answers) missing() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var lost []string
	for n := 1; n <= a.highest; n++ {
		if !a.seen[n] {
			lost = append(lost, strconv.Itoa(n))
		}
	}
	text := "packets " + strings.Join(lost[:min(len(lost), 50)], " ")
	if said := strings.TrimSpace(string(a.strange)); strings.Contains(said, "From ") {
		text += "; ping said: " + said[max(0, len(said)-1000):]
	}
	return text
}

func (a *answers) tail() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return string(a.strange[max(0, len(a.strange)-2000):])
}
