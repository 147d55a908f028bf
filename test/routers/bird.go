package routers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Bird is a running BIRD 2.
type Bird struct {
	Host    *Host
	t       testing.TB
	config  string
	socket  string
	log     string
	process *exec.Cmd
}

// StartBird starts BIRD on a host. The configuration needs no router id line or device protocol of its own.
func StartBird(t testing.TB, h *Host, routerID, config string) *Bird {
	t.Helper()
	dir := t.TempDir()
	b := &Bird{
		Host: h, t: t, config: filepath.Join(dir, "bird.conf"), socket: filepath.Join(dir, "ctl"), log: filepath.Join(dir, "bird.log"),
	}
	b.write(routerID, config)
	b.start()
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(b.log)
			t.Logf("%s: BIRD's log:\n%s", h.Name, tail(string(text), 4000))
		}
	})
	return b
}

func (b *Bird) write(routerID, config string) {
	b.t.Helper()
	full := fmt.Sprintf("log %q all;\nrouter id %s;\nprotocol device {}\n%s\n", b.log, routerID, config)
	if err := os.WriteFile(b.config, []byte(full), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *Bird) start() {
	b.t.Helper()
	b.process, _ = b.Host.Start(nil, "/usr/sbin/bird", "-f", "-c", b.config, "-s", b.socket)
	Eventually(b.t, 5*time.Second, func() error {
		_, err := b.try("show", "status")
		return err
	})
}

// Reconfigure gives BIRD a new configuration.
func (b *Bird) Reconfigure(routerID, config string) {
	b.t.Helper()
	b.write(routerID, config)
	b.Ctl("configure")
}

// Kill ends BIRD as a crash would.
func (b *Bird) Kill() { _ = b.process.Process.Kill() }

// Restart starts BIRD again; with -R it recovers from a crash gracefully.
func (b *Bird) Restart() {
	b.t.Helper()
	b.start()
}

func (b *Bird) try(args ...string) (string, error) {
	out, err := b.Host.Command("/usr/sbin/birdc", append([]string{"-s", b.socket}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("birdc %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Ctl runs a command of birdc.
func (b *Bird) Ctl(args ...string) string {
	b.t.Helper()
	out, err := b.try(args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// Log returns BIRD's log.
func (b *Bird) Log() string {
	text, _ := os.ReadFile(b.log)
	return string(text)
}

// Route returns "show route for <prefix> all", or nothing where there is no such route.
func (b *Bird) Route(prefix string) string {
	out, err := b.try("show", "route", prefix, "all")
	if err != nil || strings.Contains(out, "Network not found") {
		return ""
	}
	return out
}

// Rewrite replaces the configuration that the next start reads.
func (b *Bird) Rewrite(routerID, config string) {
	b.t.Helper()
	b.write(routerID, config)
}
