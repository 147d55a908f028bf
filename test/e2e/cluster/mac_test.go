package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// fixedHardwareAddresses starts three pods with one hardware address, two of them on one node. They reach each other, and keep the address
// when their agent comes back and finds no record of them.
func fixedHardwareAddresses(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	const mac = "02:00:5e:10:00:01"
	start := func(node int, name, value string) (*lab.Pod, error) {
		return l.StartPod(ctx, l.Nodes[node], "default/"+name, lab.PodOptions{Annotations: map[string]string{v1alpha1.AnnotationMAC: value}})
	}
	shows := func(p *lab.Pod) error {
		if out, err := p.Run(ctx, "ip", "-o", "link", "show", "eth0"); err != nil || !strings.Contains(out, "link/ether "+mac) {
			return fmt.Errorf("the interface of pod %s is %q, %v", p.Key(), out, err)
		}
		r, err := record(ctx, l, p)
		if err == nil && r.Spec.MAC != mac {
			err = fmt.Errorf("the record of pod %s says %s", p.Key(), r.Spec.MAC)
		}
		return err
	}
	var pods []*lab.Pod
	for i, node := range []int{0, 0, 1} {
		p, err := start(node, fmt.Sprintf("mac-%d", i), strings.ToUpper(mac))
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
		l.Eventually(t, lab.Settle, "the pod has its hardware address", func() error { return shows(p) })
	}
	fromArgs, err := l.StartPod(ctx, l.Nodes[1], "default/mac-args", lab.PodOptions{CNIArgs: "MAC=" + mac})
	if err != nil {
		t.Fatal(err)
	}
	pods = append(pods, fromArgs)
	l.AwaitMatrix(t, pods)

	for value, sentence := range map[string]string{
		"two":               `can't have the hardware address that the annotation causeway.dev/mac asks for: "two" is no hardware address of six bytes`,
		"01:00:5e:00:00:01": "01:00:5e:00:00:01 is a group address",
		"ee:ee:ee:ee:ee:ee": "is the address of the pod's gateway",
	} {
		p, err := start(0, "mac-bad", value)
		wantError(t, err, sentence)
		if err := l.StopPod(ctx, p); err != nil {
			t.Error(err)
		}
	}

	// Without the records, the links alone tell the next agent of the address.
	if err := l.Nodes[0].StopAgent(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods[:2] {
		if err := l.Client.Delete(ctx, mustRecord(t, l, p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Nodes[0].StartAgent(); err != nil {
		t.Fatal(err)
	}
	l.Eventually(t, lab.Settle, "the records are written again", func() error { return errors.Join(shows(pods[0]), shows(pods[1])) })
	again := []string{"--args=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=mac-0", "--keep-netns"}
	if out, err := pods[0].CNI(ctx, "add", again...).CombinedOutput(); err != nil || !strings.Contains(out, mac) {
		t.Errorf("ADD of the same container again: %v: %s", err, out)
	}
	if out, err := pods[0].CNI(ctx, "check").CombinedOutput(); err != nil {
		t.Errorf("CHECK: %v: %s", err, out)
	}
	if out, err := pods[0].Run(ctx, "ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := pods[0].CNI(ctx, "check").CombinedOutput(); err == nil || !strings.Contains(out, "but "+mac+" is fixed for it") {
		t.Errorf("CHECK of a pod that has changed its hardware address: %v: %s", err, out)
	}
	if out, err := pods[0].Run(ctx, "ip", "link", "set", "eth0", "address", mac); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.AwaitMatrix(t, pods)
	for _, p := range pods {
		if err := l.StopPod(ctx, p); err != nil {
			t.Error(err)
		}
	}
}
