package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/retry"
)

// slowness is how much later each answer of the API server comes.
const slowness = 50 * time.Millisecond

// slowAPI compares calls on two nodes in turn: to the agent of one the API server answers late.
func (b *bench) slowAPI(ctx context.Context) error {
	fast, slow := b.Nodes[0], b.Nodes[1]
	config, stop, err := b.lateKubeconfig(ctx, slow)
	if err != nil {
		return err
	}
	defer stop()
	if err := b.restartAgent(ctx, slow, "--kubeconfig="+config); err != nil {
		return err
	}
	calls := map[*lab.Node]map[string][]time.Duration{fast: {}, slow: {}}
	for round := range (b.pairs + turn - 1) / turn {
		order := []*lab.Node{fast, slow}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, n := range order {
			t := task{Name: fmt.Sprint("slow", round), Count: turn, Batch: turn, Pause: b.pause, Verbs: []string{"ADD", "DEL"}, Plugins: []plugin{b.ours(warmPool)}}
			one, err := b.runOn(ctx, n, t)
			if err != nil {
				return err
			}
			for _, verb := range t.Verbs {
				calls[n][verb] = append(calls[n][verb], one[0].Calls[verb]...)
			}
		}
	}
	for _, verb := range []string{"ADD", "DEL"} {
		b.compareWith(fmt.Sprintf("%s, API server answers after %s, p50", verb, slowness), "fast API server",
			percentile(calls[slow][verb], 0.5), percentile(calls[fast][verb], 0.5), "1.1 x")
	}
	return b.restartAgent(ctx, slow)
}

func (b *bench) restartAgent(ctx context.Context, n *lab.Node, args ...string) error {
	if err := n.StopAgent(syscall.SIGTERM); err != nil {
		return err
	}
	if err := n.StartAgent(args...); err != nil {
		return err
	}
	return retry.Until(ctx, time.Minute, func() error { return n.Ready(ctx) })
}

// lateKubeconfig returns the file name of a kubeconfig that leads to a proxy which keeps answers back.
func (b *bench) lateKubeconfig(ctx context.Context, n *lab.Node) (file string, stop func(), err error) {
	original, err := b.AgentKubeconfig(ctx, n.Name)
	if err != nil {
		return "", nil, err
	}
	config, err := clientcmd.LoadFromFile(original)
	if err != nil {
		return "", nil, fmt.Errorf("read the agent's kubeconfig: %w", err)
	}
	server := strings.TrimPrefix(b.Config.Host, "https://")
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return "", nil, fmt.Errorf("read the API server's address: %w", err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", nil, fmt.Errorf("start the proxy: %w", err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + l.Addr().String()
	}
	file = filepath.Join(b.Dir, "late.kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		return "", nil, fmt.Errorf("write the kubeconfig of the proxy: %w", err)
	}
	return file, proxy(l, server), os.Chmod(file, 0o600)
}

// proxy passes connections on to a server, and the server's answers back a little later. stop ends it and waits for it.
func proxy(l net.Listener, server string) (stop func()) {
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			mu.Lock()
			open = append(open, client, upstream)
			mu.Unlock()
			running.Go(func() { _, _ = io.Copy(upstream, client); _ = upstream.Close() })
			running.Go(func() { late(client, upstream); _ = client.Close() })
		}
	})
	return func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	}
}

// late copies with a delay, not with less throughput: each piece waits for its own time.
func late(to io.Writer, from io.Reader) {
	type piece struct {
		due  time.Time
		text []byte
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			text := make([]byte, 32<<10)
			n, err := from.Read(text)
			if n > 0 {
				pieces <- piece{time.Now().Add(slowness), text[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	failed := false
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if !failed { // what comes after a failure is thrown away
			_, err := to.Write(p.text)
			failed = err != nil
		}
	}
}
