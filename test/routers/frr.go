package routers

import (
	"os"
	"testing"
	"time"
)

// FRR is a running FRR: zebra and bgpd.
type FRR struct {
	Host *Host
	t    testing.TB
}

// StartFRR starts zebra and bgpd on a host with a configuration of bgpd.
func StartFRR(t testing.TB, h *Host, config string) *FRR {
	t.Helper()
	f := &FRR{Host: h, t: t}
	if err := os.MkdirAll("/run/frr/"+h.Name, 0o777); err != nil {
		t.Fatal(err)
	}
	file := "/run/frr/" + h.Name + "/bgpd.conf" // FRR reads it as user frr
	if err := os.WriteFile(file, []byte("log stdout informational\n"+config+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "chown", "-R", "frr:frrvty", "/run/frr")
	common := []string{"-N", h.Name}
	h.Start(nil, "/usr/lib/frr/zebra", append(common, "-f", "/dev/null")...)
	Eventually(t, 10*time.Second, func() error { _, err := os.Stat("/run/frr/" + h.Name + "/zserv.api"); return err })
	h.Start(nil, "/usr/lib/frr/bgpd", append(common, "-f", file)...)
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
