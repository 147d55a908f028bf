package modes_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/lab/capture"
)

// TestPathTracesIPv6 compares PathTraces with captures where pods have addresses of IPv6; TestModes and TestIPIPModes do so for
// IPv4.
func TestPathTracesIPv6(t *testing.T) {
	c := start(t, lab.Options{})
	size, name := int32(122), "pool-v6"
	c.Create(t, &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.IPPoolSpec{
		CIDR: "fd00:10:211::/112", BlockSize: &size, Encapsulation: v1alpha1.EncapsulationNone}})
	c.Eventually(t, lab.Settle, "the router knows every node's block of IPv6", func() error { return c.routeBlocks(t, name) })
	for _, m := range plainKernel {
		t.Run(string(m.encapsulation), func(t *testing.T) {
			c.changePool(t, name, m.encapsulation, false)
			c.startPods(t, string(m.encapsulation))
			c.pathTraces(t, m, "IPv6")
		})
	}
}

// routeBlocks gives the router routes to the blocks of a pool.
func (c *cluster) routeBlocks(t *testing.T, pool string) error {
	var list v1alpha1.IPBlockList
	if err := c.Client.List(t.Context(), &list); err != nil {
		return err
	}
	routed := 0
	for _, b := range list.Items {
		if b.Spec.Pool == pool {
			c.run(t, c.Lab, "ip", "route", "replace", b.Spec.CIDR, "via", c.Node(b.Spec.Node).V6.String())
			routed++
		}
	}
	if routed != len(c.Nodes) {
		return fmt.Errorf("%d blocks of %s: %+v", routed, pool, list.Items)
	}
	return nil
}

// pathTraces compares the hops of PathTraces with what tcpdump shows of the same packets on every link of every node: from
// node1 to pods on itself, on its subnet, and on another one.
func (c *cluster) pathTraces(t *testing.T, m mode, family string) {
	for _, to := range []*lab.Pod{c.a2, c.b, c.c} {
		t.Run("to "+to.Node.Name, func(t *testing.T) {
			captures := c.captureAll(t, m, "icmp or icmp6 or ip proto 4 or udp port 4789")
			trace := c.traceTo(t, to, family)
			seen := map[string]time.Time{}
			for at, running := range captures {
				packets, err := running.Stop()
				if err != nil {
					t.Fatal(err)
				}
				c.sights(t, at, trace, packets, seen)
			}
			compareHops(t, trace, seen)
		})
	}
}

// traceTo makes a PathTrace from the first pod to another one, which must answer.
func (c *cluster) traceTo(t *testing.T, to *lab.Pod, family string) *v1alpha1.PathTrace {
	t.Helper()
	trace := &v1alpha1.PathTrace{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "compared-"}, Spec: v1alpha1.PathTraceSpec{
		SourcePod: c.a1.Name, Destination: v1alpha1.PathDestination{Pod: to.Name}, Family: family, Protocol: v1alpha1.TraceICMP}}
	c.Create(t, trace)
	c.Eventually(t, lab.Settle, "the path trace has finished", func() error {
		if err := c.Object(t.Context(), trace.Namespace+"/"+trace.Name, trace); err != nil {
			return err
		}
		if trace.Status.End == nil {
			return fmt.Errorf("status %+v", trace.Status)
		}
		return nil
	})
	if trace.Status.End.Result != v1alpha1.PathAnswered {
		t.Errorf("the path ends with %+v", *trace.Status.End)
	}
	return trace
}

// sights notes each packet of the trace that tcpdump saw at a point, in the words of hopText, with the earliest time.
func (c *cluster) sights(t *testing.T, at point, trace *v1alpha1.PathTrace, packets []capture.Packet, seen map[string]time.Time) {
	own := ""
	for i := range packets {
		outer, p := &packets[i], &packets[i]
		if p.Inner != nil {
			p = p.Inner
		}
		legs := map[uint8]string{8: "Request", 128: "Request", 0: "Reply", 129: "Reply"}
		leg, echo := legs[p.ICMPType]
		ends := []string{p.Src.String(), p.Dst.String()}
		slices.Sort(ends)
		pair := []string{trace.Status.Source, trace.Status.Destination}
		slices.Sort(pair)
		if (p.Protocol != capture.ICMP && p.Protocol != capture.ICMPv6) || !echo || !slices.Equal(ends, pair) {
			continue
		}
		// A frame goes out if the link itself sent it. IPIP has no frames: what its own pod sent goes out.
		goesOut := c.podAt(p.Src.String()).Node == at.node
		if len(outer.SrcMAC) > 0 {
			if own == "" {
				own = c.mac(t, at.node, at.link)
			}
			goesOut = outer.SrcMAC.String() == own
		}
		h := v1alpha1.PathHop{Node: at.node.Name, Interface: at.link, Direction: map[bool]string{true: "Out", false: "In"}[goesOut], Leg: leg, Packet: v1alpha1.PathPacket{
			Source: p.Src.String(), Destination: p.Dst.String(), TTL: int32(p.TTL), Length: int32(p.Length)}}
		if p != outer {
			h.Packet.Outer = &v1alpha1.OuterHeader{Encapsulation: map[uint8]string{capture.IPIP: "IPIP", capture.UDP: "VXLAN"}[outer.Protocol],
				Source: outer.Src.String(), Destination: outer.Dst.String(), TTL: int32(outer.TTL), VNI: int32(outer.VNI)}
		}
		text := hopText(&h)
		if before, again := seen[text]; !again || outer.Time.Before(before) { // the packet is sent again where an answer takes long
			seen[text] = outer.Time
		}
	}
}

// podAt is the pod that has an address.
func (c *cluster) podAt(address string) *lab.Pod {
	for _, p := range c.pods() {
		if p.V4().String() == address || p.V6().String() == address {
			return p
		}
	}
	panic("none of the test's pods has " + address)
}

func hopText(h *v1alpha1.PathHop) string {
	text := fmt.Sprintf("%-7s %s %-4s %s: %s > %s ttl %d, %d bytes", h.Leg, h.Node, h.Direction, h.Interface, h.Packet.Source, h.Packet.Destination, h.Packet.TTL, h.Packet.Length)
	if o := h.Packet.Outer; o != nil {
		text += fmt.Sprintf(", in %s %s > %s ttl %d vni %d", o.Encapsulation, o.Source, o.Destination, o.TTL, o.VNI)
	}
	return text
}

// compareHops wants the trace to have exactly the hops that were captured, in the order of their times.
func compareHops(t *testing.T, trace *v1alpha1.PathTrace, seen map[string]time.Time) {
	t.Helper()
	var told, captured []string
	for i := range trace.Status.Hops {
		told = append(told, hopText(&trace.Status.Hops[i]))
	}
	for text := range seen {
		captured = append(captured, text)
	}
	slices.Sort(captured)
	slices.SortStableFunc(captured, func(a, b string) int { return seen[a].Compare(seen[b]) })
	inOrder := slices.IsSortedFunc(told, func(a, b string) int { return seen[a].Compare(seen[b]) })
	if sorted := slices.Sorted(slices.Values(told)); !slices.Equal(sorted, slices.Sorted(slices.Values(captured))) || !inOrder {
		t.Errorf("the trace tells\n  %s\nand the captures show, by their time,\n  %s", strings.Join(told, "\n  "), strings.Join(captured, "\n  "))
	}
}
