package routers

import (
	"os"
	"testing"
	"time"
)

// FRR is a running bgpd of FRR's. It has no zebra, so it sets no route of the kernel's.
type FRR struct {
	Host *Host
	t    testing.TB
}

// StartFRR starts bgpd on a host.
func StartFRR(t testing.TB, h *Host, config string) *FRR {
	t.Helper()
	f := &FRR{Host: h, t: t}
	if err := os.MkdirAll("/run/frr/"+h.Name, 0o777); err != nil {
		t.Fatal(err)
	}
	file := "/run/frr/" + h.Name + "/bgpd.conf"
	if err := os.WriteFile(file, []byte("log stdout informational\n"+config+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Without another user: in a user namespace there is but one.
	h.Start(nil, "/usr/lib/frr/bgpd", "-N", h.Name, "-S", "-Z", "-f", file)
	Eventually(t, 10*time.Second, func() error {
		_, err := h.Command("vtysh", "-N", h.Name, "-d", "bgpd", "-c", "show version").Output()
		return err
	})
	return f
}

// Show runs commands of vtysh, one behind the other.
func (f *FRR) Show(commands ...string) string {
	f.t.Helper()
	args := []string{"-N", f.Host.Name, "-d", "bgpd"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := f.Host.Command("vtysh", args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("vtysh %q: %v\n%s", commands, err, out)
	}
	return string(out)
}
