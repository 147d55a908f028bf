package bgp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

// frr is a running bgpd of FRR, without zebra: it learns, and changes no kernel.
type frr struct {
	lab  *lab.Lab
	name string
}

// startFRR starts bgpd on one of the router's addresses; it ends with the test.
func startFRR(t *testing.T, l *lab.Lab, address, config string) *frr {
	t.Helper()
	f := &frr{lab: l, name: "router-" + strings.ReplaceAll(address, ".", "-")}
	dir := "/run/frr/" + f.name // the lab has a /run of its own
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/bgpd.conf", []byte("log stdout informational\n"+config), 0o644); err != nil {
		t.Fatal(err)
	}
	process := l.Command(t.Context(), "/usr/lib/frr/bgpd", "-N", f.name, "-S", "-Z", "-l", address, "-f", dir+"/bgpd.conf")
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Wait() // the test's context has ended it
		_ = log.Close()
		if text, err := os.ReadFile(dir + "/log"); err == nil && t.Failed() {
			t.Logf("FRR's log:\n%s", text[max(0, len(text)-6000):])
		}
	})
	l.Eventually(t, lab.Settle, "FRR answers", func() error { _, err := f.show("show version"); return err })
	return f
}

func (f *frr) show(command string) (string, error) {
	return f.lab.Command(context.Background(), "vtysh", "-N", f.name, "-d", "bgpd", "-c", command).Output()
}

// awaitFrom waits until FRR has a prefix from these nodes and no others.
func (f *frr) awaitFrom(t *testing.T, prefix string, nodes ...*lab.Node) {
	t.Helper()
	var want []string
	for _, n := range nodes {
		want = append(want, n.V4.String())
	}
	f.lab.Eventually(t, lab.Settle, fmt.Sprintf("FRR has %s from %v", prefix, want), func() error {
		out, err := f.show("show bgp ipv4 unicast " + prefix + " json")
		if err != nil {
			return err
		}
		var route struct {
			Paths []struct {
				Valid    bool
				Nexthops []struct{ IP string }
			}
		}
		if err := json.Unmarshal([]byte(out), &route); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		var got []string
		for _, p := range route.Paths {
			for _, h := range p.Nexthops {
				if p.Valid {
					got = append(got, h.IP)
				}
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("it has it from %v: %s", got, out)
		}
		return nil
	})
}
