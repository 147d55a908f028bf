package bgp

import (
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

func kernelRoute(t *testing.T, dst string) netlink.Route {
	t.Helper()
	_, prefix, err := net.ParseCIDR(dst)
	if err != nil {
		t.Fatal(err)
	}
	return netlink.Route{Dst: prefix, Gw: net.IPv4(10, 0, 0, 1)}
}

// TestAdoptionOfInterruptedLists has the kernel's list interrupted: what an interrupted one lacks must not be lost.
func TestAdoptionOfInterruptedLists(t *testing.T) {
	one, two := kernelRoute(t, "10.1.0.0/16"), kernelRoute(t, "10.2.0.0/16")
	type answer struct {
		routes []netlink.Route
		err    error
	}
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		answers []answer
		want    []string
		err     error
	}{
		"whole":                {[]answer{{[]netlink.Route{one, two}, nil}}, []string{"10.1.0.0/16", "10.2.0.0/16"}, nil},
		"interrupted once":     {[]answer{{[]netlink.Route{one}, netlink.ErrDumpInterrupted}, {[]netlink.Route{two}, nil}}, []string{"10.2.0.0/16"}, nil},
		"always interrupted":   {[]answer{{[]netlink.Route{one}, netlink.ErrDumpInterrupted}, {[]netlink.Route{two}, netlink.ErrDumpInterrupted}}, []string{"10.1.0.0/16", "10.2.0.0/16"}, nil},
		"refused":              {[]answer{{nil, refused}}, nil, refused},
		"refused after a part": {[]answer{{[]netlink.Route{one}, netlink.ErrDumpInterrupted}, {nil, refused}}, nil, refused},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			got, err := collect(func() ([]netlink.Route, error) {
				a := c.answers[min(calls, len(c.answers)-1)]
				calls++
				return a.routes, a.err
			})
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v", err)
			}
			var prefixes []string
			for _, r := range got {
				prefixes = append(prefixes, r.Prefix.String())
			}
			if slices.Sort(prefixes); !slices.Equal(prefixes, c.want) {
				t.Errorf("adopted %v, not %v", prefixes, c.want)
			}
		})
	}
}

func TestLearnedRouteOfSeveralNextHops(t *testing.T) {
	r := kernelRoute(t, "10.1.0.0/16")
	r.Gw = nil
	r.MultiPath = []*netlink.NexthopInfo{{Gw: net.IPv4(10, 0, 0, 1)}, {Gw: net.IPv4(10, 0, 0, 2)}}
	got, ok := learnedRoute(&r)
	if !ok || len(got.NextHops) != 2 || got.NextHops[1].String() != "10.0.0.2" {
		t.Errorf("%+v, %v", got, ok)
	}
	for _, none := range []netlink.Route{{}, {Dst: r.Dst}} {
		if got, ok := learnedRoute(&none); ok {
			t.Errorf("adopted %+v", got)
		}
	}
}

func TestPodLinksAreKnownByTheirName(t *testing.T) {
	veth := func(name string) netlink.Link { return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}} }
	for name, want := range map[string]bool{"cw0123456789a": true, "cwXXXXXXXXXXX": false, "cwan0": false, "eth0": false} {
		if isPodLink(veth(name)) != want {
			t.Errorf("%s is taken for a pod's link: %v", name, !want)
		}
	}
}
