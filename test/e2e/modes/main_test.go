// Package modes_test follows packets through a cluster in every mode of a pool: what the kernels show, what captures
// show at each hop, what size passes, what is dropped, and what a change of the mode costs those who talk meanwhile.
// The facts are those of docs/packet-walk.md.
package modes_test

import (
	"os"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == forgeVerb {
		os.Exit(forge(os.Args[2:]))
	}
	os.Exit(lab.Main(m))
}

// mode is one value of spec.encapsulation and what follows from it.
type mode struct {
	encapsulation v1alpha1.Encapsulation
	near, far     way // to a node of the same subnet, and of another one
	mtu           int // of pods, on an underlay of 1500
}

// way is how packets travel between two nodes.
type way string

const (
	plain way = "plain"
	ipip  way = "ipip"
	vxlan way = "vxlan"
)

// device is the tunnel of a way.
func (w way) device() string { return map[way]string{ipip: "tunl0", vxlan: "vxlan.cw"}[w] }

var (
	none       = mode{v1alpha1.EncapsulationNone, plain, plain, 1500}
	vxlanAll   = mode{v1alpha1.EncapsulationVXLAN, vxlan, vxlan, 1450}
	vxlanCross = mode{v1alpha1.EncapsulationVXLANCrossSubnet, plain, vxlan, 1450}
	ipipAll    = mode{v1alpha1.EncapsulationIPIP, ipip, ipip, 1480}
	ipipCross  = mode{v1alpha1.EncapsulationIPIPCrossSubnet, plain, ipip, 1480}
)

// plainKernel are the modes that every kernel has.
var plainKernel = []mode{none, vxlanAll, vxlanCross}

func TestModes(t *testing.T) { run(t, lab.Options{}, nil, plainKernel) }

// run tests modes in one lab: each by itself, then all changes between them, and to and from those that another test has
// tested by themselves.
func run(t *testing.T, o lab.Options, others, modes []mode) {
	c := start(t, o)
	for _, m := range modes {
		t.Run(string(m.encapsulation), func(t *testing.T) {
			c.change(t, m.encapsulation, true)
			c.startPods(t, string(m.encapsulation))
			t.Run("kernel", func(t *testing.T) { c.checkKernel(t, m) })
			t.Run("trace", func(t *testing.T) { c.trace(t, m) })
			t.Run("path trace", func(t *testing.T) { c.pathTraces(t, m, "IPv4") })
			t.Run("large", func(t *testing.T) { c.large(t, m) })
			for _, w := range []way{ipip, vxlan} {
				if m.uses(w) {
					t.Run("forged "+string(w), func(t *testing.T) { c.forged(t, w) })
				}
			}
		})
	}
	t.Run("live", func(t *testing.T) { c.live(t, slices.Concat(others, modes), len(others)) })
}
