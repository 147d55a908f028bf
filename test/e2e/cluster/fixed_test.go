package cluster_test

import (
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// fixedAddresses starts pods that ask for their address. The lab passes annotations on as containerd does.
func fixedAddresses(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	bits := int32(28)
	l.Create(t, pool("fixed", "10.77.0.0/28", func(s *v1alpha1.IPPoolSpec) {
		s.BlockSize, s.AssignmentMode, s.FixedAddresses = &bits, v1alpha1.AssignmentManual, v1alpha1.FixedAddressesAllowed
		s.Reserved = []string{"10.77.0.9"}
	}))
	awaitPools(t, l, "fixed")
	start := func(node int, key, addresses string) (*lab.Pod, error) {
		return l.StartPod(ctx, l.Nodes[node], key, lab.PodOptions{Annotations: map[string]string{v1alpha1.AnnotationIPs: addresses}})
	}
	refused := func(node int, key, addresses string, sentences ...string) {
		t.Helper()
		p, err := start(node, key, addresses)
		wantError(t, err, sentences...)
		if err := l.StopPod(ctx, p); err != nil {
			t.Error(err)
		}
	}
	first, err := start(0, "default/fixed-a", "10.77.0.5")
	if err != nil {
		t.Fatal(err)
	}
	if first.V4() != netip.MustParseAddr("10.77.0.5") {
		t.Errorf("the pod has %v", first.Addresses)
	}
	l.AwaitMatrix(t, []*lab.Pod{first, l.MustStartPod(t, 1, "default/fixed-peer")})

	refused(0, "default/fixed-b", "10.77.0.5", "address 10.77.0.5 of IPPool fixed is in use by pod default/fixed-a", "it gets the address when that pod is gone")
	refused(0, "default/fixed-c", "10.77.0.9", "is reserved")
	refused(0, "default/fixed-d", "10.77.0.0", "kept for the node's tunnels")
	refused(0, "default/fixed-e", "192.0.2.1", "lies in no IPPool")
	refused(0, "default/fixed-f", "10.72.0.9", "IPPool default-four does not let pods ask for addresses")
	refused(0, "default/fixed-g", "ten", `has "ten", which is not an IP address`)
	refused(0, "default/fixed-h", "10.77.0.6,10.77.0.7", "two addresses of one family")

	// A pod that waits gets the address as soon as the other one is gone.
	waiting := make(chan error, 1)
	go func() {
		_, err := start(0, "default/fixed-i", "10.77.0.5")
		waiting <- err
	}()
	if err := l.StopPod(ctx, first); err != nil {
		t.Error(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
}
