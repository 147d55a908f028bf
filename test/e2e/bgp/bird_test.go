package bgp_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/lab"
)

// bird is a running BIRD 2.
type bird struct {
	lab    *lab.Lab
	at     func(ctx context.Context, argv ...string) *lab.Cmd
	dir    string
	router string
	// process is the one that runs; start replaces it.
	process *lab.Cmd
}

// startBird starts BIRD somewhere in the lab; it ends with the test.
func startBird(t *testing.T, l *lab.Lab, at func(context.Context, ...string) *lab.Cmd, routerID, config string) *bird {
	t.Helper()
	dir, err := os.MkdirTemp(l.Dir, "bird-")
	if err != nil {
		t.Fatal(err)
	}
	b := &bird{lab: l, at: at, dir: dir, router: routerID}
	b.write(t, config)
	b.start(t)
	t.Cleanup(func() {
		_ = b.process.Wait() // the test's context has ended it
		if log, err := os.ReadFile(b.file("log")); err == nil && t.Failed() {
			t.Logf("BIRD's log:\n%s", log[max(0, len(log)-6000):])
		}
	})
	return b
}

// start runs BIRD until the test ends, and returns when it answers.
func (b *bird) start(t *testing.T) {
	t.Helper()
	b.process = b.at(t.Context(), "/usr/sbin/bird", "-f", "-c", b.file("conf"), "-s", b.file("ctl"))
	if err := b.process.Start(); err != nil {
		t.Fatal(err)
	}
	b.lab.Eventually(t, lab.Settle, "BIRD answers", func() error { _, err := b.ask("show", "status"); return err })
}

// crash ends BIRD without a word to anybody.
func (b *bird) crash(t *testing.T) {
	t.Helper()
	if err := b.process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = b.process.Wait() // ended by the signal
}

func (b *bird) file(name string) string { return filepath.Join(b.dir, name) }

func (b *bird) write(t *testing.T, config string) {
	t.Helper()
	full := fmt.Sprintf("log %q all;\ntimeformat protocol iso long ms;\nrouter id %s;\nprotocol device {}\n%s\n", b.file("log"), b.router, config)
	if err := os.WriteFile(b.file("conf"), []byte(full), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reconfigure gives BIRD a new configuration.
func (b *bird) reconfigure(t *testing.T, config string) {
	t.Helper()
	b.write(t, config)
	if out, err := b.ask("configure"); err != nil || strings.Contains(out, "error") {
		t.Fatalf("configure BIRD: %v: %s", err, out)
	}
}

func (b *bird) ask(args ...string) (string, error) {
	return b.at(context.Background(), append([]string{"/usr/sbin/birdc", "-s", b.file("ctl")}, args...)...).CombinedOutput()
}

// uptime says since when a session of BIRD's is up.
type uptime struct {
	session string
	since   time.Time
}

// same allows for BIRD's rounding: it computes the time of day anew whenever it is asked.
func (u uptime) same(v uptime) bool {
	return u.session == v.session && v.since.Sub(u.since).Abs() < 100*time.Millisecond
}

func (u uptime) String() string { return u.session + " since " + u.since.Format(time.StampMilli) }

// established returns since when the session with a neighbour is up, as BIRD says it.
func (b *bird) established(neighbour netip.Addr) (uptime, error) {
	out, err := b.ask("show", "protocols", "all")
	if err != nil {
		return uptime{}, err
	}
	var up uptime
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) >= 6 && fields[1] == "BGP" { // node1 BGP --- up 2026-11-21 15:06:55.511 Established
			up = uptime{}
			if fields[len(fields)-1] == "Established" {
				since, err := time.Parse(time.DateTime, fields[4]+" "+fields[5])
				if err != nil {
					return up, err
				}
				up = uptime{fields[0], since}
			}
		}
		if len(fields) == 3 && fields[0] == "Neighbor" && fields[2] == neighbour.String() && up.session != "" {
			return up, nil
		}
	}
	return uptime{}, fmt.Errorf("BIRD has no established session with %s:\n%s", neighbour, out)
}

// from returns the neighbours that BIRD has a route for a prefix from.
func (b *bird) from(prefix string) ([]string, error) {
	out, err := b.ask("show", "route", prefix, "all")
	if err != nil {
		return nil, err
	}
	var via []string
	for line := range strings.Lines(out) {
		if next, ok := strings.CutPrefix(strings.TrimSpace(line), "BGP.next_hop: "); ok {
			via = append(via, strings.Fields(next)[0])
		}
	}
	return via, nil
}

// seconds prints a duration for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
