package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/retry"
)

// repeats is how often each figure is measured, ours and the hand-made one in turn. The middle ratio counts.
const repeats = 5

// end is one end of the traffic: a network namespace where commands run.
type end struct {
	command func(ctx context.Context, argv ...string) *lab.Cmd
	address string
}

// path is two ends and what is between them.
type path struct{ from, to end }

// trafficOfAllModes compares pods with plain namespaces, whose route or tunnel is made by hand.
func (b *bench) trafficOfAllModes(ctx context.Context) error {
	pools := map[v1alpha1.Encapsulation]string{
		v1alpha1.EncapsulationNone: "10.103.0.0/16", v1alpha1.EncapsulationVXLAN: "10.104.0.0/16", v1alpha1.EncapsulationIPIP: "10.105.0.0/16",
	}
	for i, mode := range []v1alpha1.Encapsulation{v1alpha1.EncapsulationNone, v1alpha1.EncapsulationVXLAN, v1alpha1.EncapsulationIPIP} {
		hand, err := b.byHand(ctx, mode, i)
		if err != nil {
			b.notes = append(b.notes, fmt.Sprintf("Traffic in mode %s is not measured: %v.", mode, err))
			continue
		}
		name := "bench-" + strings.ToLower(string(mode))
		if err := b.makePool(ctx, name, pools[mode], mode, v1alpha1.AssignmentManual); err != nil {
			return err
		}
		ours, err := b.byPods(ctx, name)
		if err != nil {
			return err
		}
		if err := b.compareTraffic(ctx, string(mode), ours, hand); err != nil {
			return err
		}
	}
	return nil
}

// byPods starts a pod on each of two nodes, in a namespace of the pool's own.
func (b *bench) byPods(ctx context.Context, pool string) (path, error) {
	if err := b.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: pool, Annotations: map[string]string{v1alpha1.AnnotationPools: pool},
	}}); err != nil {
		return path{}, fmt.Errorf("create namespace %s: %w", pool, err)
	}
	var ends []end
	for i, n := range b.Nodes[:2] {
		p, err := b.StartPod(ctx, n, fmt.Sprintf("%s/pod-%d", pool, i), lab.PodOptions{})
		if err != nil {
			return path{}, err
		}
		ends = append(ends, end{command: p.Command, address: p.V4().String()})
	}
	return path{ends[0], ends[1]}, awaitPing(ctx, path{ends[0], ends[1]})
}

func awaitPing(ctx context.Context, p path) error {
	return retry.Until(ctx, 30*time.Second, func() error {
		out, err := p.from.command(ctx, "ping", "-c1", "-W1", p.to.address).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ping from one end to the other: %w: %s", err, out)
		}
		return nil
	})
}

// byHand makes a namespace on each of two machines without an agent, and the same way between them as a mode of ours.
func (b *bench) byHand(ctx context.Context, mode v1alpha1.Encapsulation, number int) (path, error) {
	var machines []*lab.Node
	for i := range 2 {
		n, err := b.AddNode(ctx, fmt.Sprintf("plain%d-%d", number, i), 1)
		if err != nil {
			return path{}, err
		}
		machines = append(machines, n)
	}
	inner := func(i int) string { return fmt.Sprintf("10.110.%d.2", i) }
	var ends []end
	for i, n := range machines {
		other := machines[1-i]
		mtu := map[v1alpha1.Encapsulation]string{v1alpha1.EncapsulationVXLAN: "1450", v1alpha1.EncapsulationIPIP: "1480"}[mode]
		if mtu == "" {
			mtu = "1500"
		}
		script := "set -e; ip netns add plain; ip link add h0 mtu " + mtu + " type veth peer name eth0 mtu " + mtu + " netns plain; ip link set h0 up; " +
			"sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.h0.proxy_arp=1 net.ipv4.neigh.h0.proxy_delay=0; ip route add " + inner(i) + " dev h0; " +
			"ip -n plain link set lo up; ip -n plain link set eth0 up; ip -n plain addr add " + inner(i) + "/32 dev eth0; " +
			"ip -n plain route add 169.254.1.1 dev eth0; ip -n plain route add default via 169.254.1.1; " +
			wayByHand(mode, n.V4.String(), other.V4.String(), inner(1-i), i)
		if out, err := n.Run(ctx, "sh", "-c", script); err != nil {
			return path{}, fmt.Errorf("make a way by hand: %w: %s", err, strings.TrimSpace(out))
		}
		ends = append(ends, end{address: inner(i), command: func(ctx context.Context, argv ...string) *lab.Cmd {
			return n.Command(ctx, append([]string{"ip", "netns", "exec", "plain"}, argv...)...)
		}})
	}
	return path{ends[0], ends[1]}, awaitPing(ctx, path{ends[0], ends[1]})
}

// wayByHand is what one would type to reach a network on another machine.
func wayByHand(mode v1alpha1.Encapsulation, own, other, to string, number int) string {
	switch mode {
	case v1alpha1.EncapsulationVXLAN:
		mac := func(i int) string { return fmt.Sprintf("02:00:00:00:77:0%d", i) }
		return fmt.Sprintf("ip link add vx0 address %s mtu 1450 type vxlan id 77 dstport 4789 local %s dev eth0 nolearning; ip link set vx0 up; "+
			"ip addr add 10.111.0.%d/32 dev vx0; ip neigh add 10.111.0.%d lladdr %s dev vx0 nud permanent; bridge fdb add %s dev vx0 dst %s; "+
			"ip route add %s via 10.111.0.%d dev vx0 onlink", mac(number), own, number, 1-number, mac(1-number), mac(1-number), other, to, 1-number)
	case v1alpha1.EncapsulationIPIP:
		return fmt.Sprintf("ip link add ipip0 mtu 1480 type ipip local %s remote %s; ip link set ipip0 up; ip route add %s dev ipip0", own, other, to)
	}
	return "ip route add " + to + " via " + other
}

// compareTraffic measures two paths in turn.
func (b *bench) compareTraffic(ctx context.Context, mode string, ours, hand path) error {
	for _, p := range []path{ours, hand} {
		stop, err := serve(ctx, p.to, b.self)
		if err != nil {
			return err
		}
		defer stop()
	}
	seconds := fmt.Sprint(max(1, int(b.traffic.Seconds()))) // iperf3 takes 0 for no end
	for _, figure := range []struct {
		what    string
		format  string
		measure func(path) (float64, error)
	}{
		{"TCP, 1 stream", "%.2f Gbit/s", func(p path) (float64, error) { return gigabits(ctx, p, "-t", seconds) }},
		{"TCP, 8 streams", "%.2f Gbit/s", func(p path) (float64, error) { return gigabits(ctx, p, "-t", seconds, "-P", "8") }},
		{"UDP, 64 bytes", "%.0f packets/s", func(p path) (float64, error) { return packets(ctx, p, "-t", seconds) }},
		{"TCP, one byte to and fro", "%.0f /s", func(p path) (float64, error) { return b.roundTrips(ctx, p) }},
	} {
		var got, want, ratios []float64
		for i := range repeats {
			order := []path{ours, hand}
			if i%2 == 1 {
				slices.Reverse(order)
			}
			measured := map[string]float64{}
			for _, p := range order {
				value, err := figure.measure(p)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", mode, figure.what, err)
				}
				measured[p.to.address] = value
			}
			a, c := measured[ours.to.address], measured[hand.to.address]
			got, want, ratios = append(got, a), append(want, c), append(ratios, a/c)
		}
		b.add(row{
			what: mode + ": " + figure.what, ours: fmt.Sprintf(figure.format, middle(got)), reference: "by hand " + fmt.Sprintf(figure.format, middle(want)),
			ratio: fmt.Sprintf("%.2f", middle(ratios)), target: "0.97 x",
		})
	}
	return nil
}

func middle(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }

// serve starts what answers at an end. stop ends it.
func serve(ctx context.Context, e end, self string) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	speed, echo := e.command(ctx, "iperf3", "-s"), e.command(ctx, self, insideVerb, "echo")
	never, hold := io.Pipe()
	out, in := io.Pipe()
	echo.Stdin, echo.Stdout = never, in
	for _, c := range []*lab.Cmd{speed, echo} {
		if err := c.Start(); err != nil {
			cancel()
			return nil, err
		}
	}
	if lines := bufio.NewScanner(out); !lines.Scan() {
		cancel()
		return nil, fmt.Errorf("start the echo: %w", lines.Err())
	}
	return func() {
		_ = hold.Close()
		cancel()
		_, _ = speed.Wait(), echo.Wait() // They were ended.
	}, nil
}

// iperfReport is what iperf3 says.
type iperfReport struct {
	Error string `json:"error"`
	End   struct {
		Received struct {
			Rate float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			Seconds float64 `json:"seconds"`
			Packets float64 `json:"packets"`
			Lost    float64 `json:"lost_packets"`
		} `json:"sum"`
	} `json:"end"`
}

func iperf(ctx context.Context, p path, args ...string) (r iperfReport, err error) {
	err = retry.Until(ctx, 20*time.Second, func() error { // the server may still be busy with the last test
		out, err := p.from.command(ctx, append([]string{"iperf3", "-J", "-c", p.to.address}, args...)...).Output()
		r = iperfReport{}
		if parse := json.Unmarshal([]byte(out), &r); parse == nil && r.Error != "" {
			return fmt.Errorf("iperf3: %s", r.Error)
		}
		return err
	})
	return r, err
}

func gigabits(ctx context.Context, p path, args ...string) (float64, error) {
	r, err := iperf(ctx, p, args...)
	return r.End.Received.Rate / 1e9, err
}

func packets(ctx context.Context, p path, args ...string) (float64, error) {
	r, err := iperf(ctx, p, append(args, "-u", "-b", "0", "-l", "64")...)
	return (r.End.Sum.Packets - r.End.Sum.Lost) / r.End.Sum.Seconds, err
}

func (b *bench) roundTrips(ctx context.Context, p path) (float64, error) {
	out, err := p.from.command(ctx, b.self, insideVerb, "ask", p.to.address, b.traffic.String()).Output()
	if err != nil {
		return 0, err
	}
	var took time.Duration
	if err := json.Unmarshal([]byte(out), &took); err != nil {
		return 0, fmt.Errorf("read the time of a round trip: %w: %s", err, out)
	}
	return float64(time.Second) / float64(took), nil
}
