package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

const conflistPath = "/etc/cni/net.d/10-causeway.conflist"

func conflist(version, more string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":"causeway","plugins":[{"type":"causeway"}%s]}`, version, more)
}

func TestEveryVerbInEveryVersion(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	ctx := t.Context()
	l.Create(t, pool("four", "10.211.0.0/16", nil))
	l.Create(t, pool("six", "fd00:211::/48", func(s *v1alpha1.IPPoolSpec) { s.Encapsulation = v1alpha1.EncapsulationVXLAN }))
	n := l.Nodes[0]
	l.Eventually(t, lab.Settle, "both pools are ready", func() error { return bothReady(ctx, l) })
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			if err := n.WriteFile(ctx, conflistPath, conflist(version, "")); err != nil {
				t.Fatal(err)
			}
			p := l.MustStartPod(t, 0, "default/v"+strings.ReplaceAll(version, ".", "-"))
			other := l.MustStartPod(t, 0, "default/o"+strings.ReplaceAll(version, ".", "-"))
			if len(p.Addresses) != 2 {
				t.Fatalf("a dual-stack pod has %v", p.Addresses)
			}
			var result struct {
				CNIVersion string `json:"cniVersion"`
			}
			if err := json.Unmarshal(p.Result, &result); err != nil || result.CNIVersion != version {
				t.Errorf("%v: %s", err, p.Result)
			}
			verb := func(verb string, args ...string) error {
				out, err := p.CNI(ctx, verb, args...).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%s: %w: %s", verb, err, out)
				}
				return nil
			}
			if version >= "0.4.0" {
				if err := verb("check"); err != nil {
					t.Error(err)
				}
				if out, err := p.Run(ctx, "ip", "addr", "flush", "dev", "eth0"); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if err := verb("check"); err == nil {
					t.Error("CHECK does not see that the pod lost its addresses")
				}
			}
			if version >= "1.1.0" {
				if err := verb("status"); err != nil {
					t.Error(err)
				}
				if err := verb("gc", "--valid="+other.ContainerID); err != nil {
					t.Error(err)
				}
				l.Eventually(t, lab.Settle, "GC removed the endpoint", func() error {
					if _, err := record(ctx, l, p); err == nil {
						return errors.New("its record is there")
					}
					_, err := record(ctx, l, other)
					return err
				})
			}
			for range 2 {
				if err := del(ctx, p); err != nil {
					t.Error(err)
				}
			}
			if err := del(ctx, other); err != nil {
				t.Error(err)
			}
		})
	}
	l.Eventually(t, lab.Settle, "no record is left", func() error { return noRecords(ctx, l) })
}

func bothReady(ctx context.Context, l *lab.Lab) error {
	for _, name := range []string{"four", "six"} {
		s, err := poolStatus(ctx, l, name)
		if err != nil {
			return err
		}
		if s.NodesReady != 3 || s.Blocks < 3 {
			return fmt.Errorf("pool %s: %+v", name, s)
		}
	}
	return nil
}

func TestChainsWithTheReferencePlugins(t *testing.T) {
	l := lab.Start(t, lab.Options{CNIConfig: conflist("1.0.0", `,{"type":"tuning","sysctl":{"net.core.somaxconn":"500"}},
		{"type":"bandwidth","ingressRate":8000000,"ingressBurst":8000000,"egressRate":8000000,"egressBurst":8000000},{"type":"portmap","snat":true,"capabilities":{"portMappings":true}}`)})
	ctx := t.Context()
	l.Create(t, pool("pool", "10.211.0.0/16", nil))
	pods := l.PodsOnAll(t, "pod")
	l.AwaitMatrix(t, pods)
	if out, err := pods[0].Run(ctx, "sysctl", "-n", "net.core.somaxconn"); err != nil || strings.TrimSpace(out) != "500" {
		t.Errorf("tuning: %v: %s", err, out)
	}
	if out, err := l.Nodes[0].Run(ctx, "tc", "qdisc", "show", "dev", mustRecord(t, l, pods[0]).Spec.Interface); err != nil || !strings.Contains(out, "tbf") {
		t.Errorf("bandwidth: %v: %s", err, out)
	}
	for _, p := range pods {
		if out, err := p.CNI(ctx, "check").CombinedOutput(); err != nil {
			t.Errorf("CHECK through the chain: %v: %s", err, out)
		}
		if err := del(ctx, p); err != nil {
			t.Error(err)
		}
	}
	l.Eventually(t, lab.Settle, "no record is left", func() error { return noRecords(ctx, l) })
}

func TestBadInputGetsAClearError(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	ctx := t.Context()
	l.Create(t, pool("pool", "10.211.0.0/16", nil))
	good := l.PodsOnAll(t, "good")
	n := l.Nodes[0]
	raw := func(conf string, env ...string) (string, error) {
		cmd := n.Command(ctx, l.Bin("causeway"))
		cmd.Stdin = strings.NewReader(conf)
		cmd.Env = append([]string{
			"CNI_COMMAND=ADD", "CNI_CONTAINERID=bad", "CNI_NETNS=" + "/run/netns/" + good[0].Netns, "CNI_IFNAME=eth7", "CNI_PATH=/",
			"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=bad",
		}, env...)
		return cmd.CombinedOutput()
	}
	conf := `{"cniVersion":"1.1.0","name":"causeway","type":"causeway"}`
	for name, c := range map[string]struct {
		conf string
		env  []string
		want string
	}{
		"no JSON":           {conf: `{`, want: `"code": 6`},
		"empty":             {conf: ``, want: `"code"`},
		"unknown namespace": {conf: conf, env: []string{"CNI_NETNS=/run/netns/nowhere"}, want: `"code": 103`},
		"node's namespace":  {conf: conf, env: []string{"CNI_NETNS=/proc/self/ns/net"}, want: `"code": 103`},
		"container id":      {conf: conf, env: []string{"CNI_CONTAINERID=../../x"}, want: `"code": 4`},
		"long interface":    {conf: conf, env: []string{"CNI_IFNAME=sixteen-letters-"}, want: `"code": 4`},
		"taken interface":   {conf: conf, env: []string{"CNI_IFNAME=eth0"}, want: `"code": 102`},
		"Kubernetes' names": {conf: conf, env: []string{"CNI_ARGS=K8S_POD_NAMESPACE=No_Such;K8S_POD_NAME=x"}, want: `"code": 4`},
		"no such namespace": {conf: conf, env: []string{"CNI_ARGS=K8S_POD_NAMESPACE=nowhere;K8S_POD_NAME=x"}, want: `nowhere`},
		"no such pool":      {conf: `{"cniVersion":"1.1.0","name":"causeway","type":"causeway","ipPools":["nowhere"]}`, want: `"code": 100`},
		"dead agent":        {conf: `{"cniVersion":"1.1.0","name":"causeway","type":"causeway","socket":"/run/nobody.sock"}`, want: `"code": 11`},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := raw(c.conf, c.env...)
			if err == nil || !strings.Contains(out, c.want) || !strings.Contains(out, `"msg"`) {
				t.Errorf("%v: want %s in: %s", err, c.want, out)
			}
		})
	}
	t.Run("DEL of something unknown", func(t *testing.T) {
		if out, err := raw(conf, "CNI_COMMAND=DEL", "CNI_CONTAINERID=never", "CNI_NETNS="); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("odd but legal container id", func(t *testing.T) {
		odd := []string{"CNI_CONTAINERID=A_b.C-9", "CNI_IFNAME=net1"}
		if out, err := raw(conf, odd...); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if out, err := raw(conf, append(odd, "CNI_COMMAND=DEL")...); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	l.AwaitMatrix(t, good)
	checkConsistent(t, l)
}

func TestTheSamePodInManyWays(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	ctx := t.Context()
	l.Create(t, pool("pool", "10.211.0.0/16", nil))
	first := l.MustStartPod(t, 0, "default/web-0")
	args := "--args=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0"

	out, err := first.CNI(ctx, "add", args).Output()
	if err != nil || !strings.Contains(out, first.V4().String()) {
		t.Errorf("the same ADD twice: %v: %s", err, out)
	}
	second, err := l.StartPod(ctx, l.Nodes[0], "default/web-0", lab.PodOptions{NoObject: true})
	if err != nil || second.V4() == first.V4() {
		t.Fatalf("a second sandbox: %v, %v", err, second)
	}
	elsewhere, err := l.StartPod(ctx, l.Nodes[2], "default/web-0", lab.PodOptions{NoObject: true})
	if err != nil {
		t.Fatalf("the pod on another node: %v", err)
	}
	if err := del(ctx, first); err != nil {
		t.Error(err)
	}
	l.AwaitMatrix(t, []*lab.Pod{second, elsewhere})
	mustRecord(t, l, second)

	// ADD and DEL of one sandbox at once, many times: whoever comes last wins, and nothing is left but that.
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() { _, _ = second.CNI(ctx, "add", "--keep-netns", args).CombinedOutput() })
		calls.Go(func() { _, _ = second.CNI(ctx, "del", "--keep-netns", args).CombinedOutput() })
	}
	calls.Wait()
	checkConsistent(t, l)
	for _, p := range []*lab.Pod{second, elsewhere} {
		l.Eventually(t, lab.Settle, "DEL succeeds", func() error { return del(ctx, p) })
	}
	l.Eventually(t, lab.Settle, "no record is left", func() error { return noRecords(ctx, l) })
}
