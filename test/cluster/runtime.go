package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/retry"
)

// AgnhostImage is an image for tests that every node has.
const AgnhostImage = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"

const (
	sandboxImage = "registry.k8s.io/pause:3.10.2"
	// dnsV4 is what test/cluster/addons/coredns.yaml says; in a cluster without IPv4 it becomes dnsV6.
	dnsV4, dnsV6 = "10.96.0.10", "fd00:10:96::a"
	// patience is how long a program may take to be ready on a busy machine.
	patience = 2 * time.Minute
)

// dnsAddress is the address of the Service of CoreDNS.
func (o Options) dnsAddress() string {
	if o.IPv6Only {
		return dnsV6
	}
	return dnsV4
}

// kubeletConfig needs the socket of the runtime, the group of control groups, the address of CoreDNS, and the cluster's authority.
const kubeletConfig = `
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://%s
cgroupDriver: cgroupfs
cgroupRoot: %s
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
# A disk that is full on the machine of a test is not what is tested.
evictionHard: {memory.available: 50Mi}
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
clusterDomain: cluster.local
clusterDNS: ["%s"]
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/kubernetes/ca.crt}
authorization: {mode: Webhook}
`

// proxyConfig needs the mode. It has no limits of connections: a namespace can't set them.
const proxyConfig = `
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
clientConnection: {kubeconfig: /etc/kubernetes/kube-proxy.kubeconfig}
detectLocalMode: InterfaceNamePrefix
detectLocal: {interfaceNamePrefix: cw}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s, udpTimeout: 0s, udpStreamTimeout: 0s}
`

// runtime is a container runtime.
type runtime interface {
	// check says what it lacks.
	check(*Cluster) error
	// socket is where it serves.
	socket() string
	// daemon writes its configuration to a node and returns its program.
	daemon(context.Context, *Node) (*Daemon, error)
	// answers says whether it serves.
	answers(context.Context, *Node) error
	// load loads an archive with an image, docker's or an OCI one.
	load(ctx context.Context, n *Node, archive string) error
	// tag gives an image that is there another name.
	tag(ctx context.Context, n *Node, from, to string) error
}

func newRuntime(name string) (runtime, error) {
	switch name {
	case "", "containerd":
		return containerd{}, nil
	case "crio":
		return crio{}, nil
	}
	return nil, fmt.Errorf("there is no runtime %q: it is containerd or crio", name)
}

// startRuntime starts the container runtime and gives it the images of the cluster.
func (n *Node) startRuntime(ctx context.Context) (err error) {
	r := n.cluster.runtime
	if n.Runtime, err = r.daemon(ctx, n); err != nil {
		return err
	}
	if err := n.Runtime.Start(); err != nil {
		return err
	}
	if err := retry.Until(ctx, patience, func() error { return r.answers(ctx, n) }); err != nil {
		return fmt.Errorf("wait for the container runtime: %w: %s", err, tail(n.Runtime.Log()))
	}
	for _, image := range []string{"images/pause.tar", "images/agnhost.tar", "images/coredns.tar", "causeway-image.tar"} {
		if err := n.Load(ctx, n.cluster.Bin(image)); err != nil {
			return err
		}
	}
	return nil
}

// Load loads an archive with an image, docker's or an OCI one, which the node can read, such as one in bin/.
func (n *Node) Load(ctx context.Context, archive string) error {
	return n.cluster.runtime.load(ctx, n, archive)
}

// Tag gives an image that the node has another name.
func (n *Node) Tag(ctx context.Context, from, to string) error {
	return n.cluster.runtime.tag(ctx, n, from, to)
}

// startKubelet writes what a node needs to join, and starts kubelet and kube-proxy.
func (n *Node) startKubelet(ctx context.Context) error {
	c := n.cluster
	files := map[string]string{
		"/etc/kubernetes/kubelet.yaml":    fmt.Sprintf(kubeletConfig, c.runtime.socket(), n.group, c.o.dnsAddress()),
		"/etc/kubernetes/kube-proxy.yaml": fmt.Sprintf(proxyConfig, cmp.Or(c.o.Proxy, "nftables")),
	}
	if c.o.Tainted {
		files["/etc/kubernetes/kubelet.yaml"] += "registerWithTaints: [{key: " + v1alpha1.TaintAgentNotReady + ", effect: NoSchedule}]\n"
	}
	for to, of := range map[string]struct {
		user   string
		groups []string
	}{
		"kubelet.kubeconfig":    {"system:node:" + n.Name, []string{"system:nodes"}},
		"kube-proxy.kubeconfig": {"system:kube-proxy", nil},
	} {
		from, err := c.Kubeconfig(n.Name+"-"+to, of.user, of.groups...)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		files["/etc/kubernetes/"+to] = string(text)
	}
	ca, err := os.ReadFile(c.CA())
	if err != nil {
		return err
	}
	files["/etc/kubernetes/ca.crt"] = string(ca)
	for path, text := range files {
		if err := n.WriteFile(ctx, path, text); err != nil {
			return err
		}
	}
	var own []string
	for _, a := range n.Addresses() {
		own = append(own, a.String())
	}
	n.Kubelet = n.daemon(c.Bin("kubelet"), "--config=/etc/kubernetes/kubelet.yaml", "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
		"--hostname-override="+n.Name, "--node-ip="+strings.Join(own, ","))
	n.Proxy = n.daemon(c.Bin("kube-proxy"), "--config=/etc/kubernetes/kube-proxy.yaml", "--hostname-override="+n.Name)
	if err := n.Kubelet.Start(); err != nil {
		return err
	}
	if err := n.awaitRegistered(ctx); err != nil {
		return fmt.Errorf("%w: %s", err, tail(n.Kubelet.Log()))
	}
	return n.Proxy.Start()
}

func (n *Node) awaitRegistered(ctx context.Context) error {
	return retry.Until(ctx, patience, func() error {
		_, err := n.cluster.Command(ctx, "kubectl", "get", "node", n.Name)
		return err
	})
}

// Join starts a node that was cut off or was never there.
func (n *Node) Join(ctx context.Context) error {
	if err := n.Boot(ctx); err != nil {
		return err
	}
	if err := n.startRuntime(ctx); err != nil {
		return err
	}
	return n.startKubelet(ctx)
}

// tail is the end of a log, for an error.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return filepath.Base(file) + " ends with:\n" + strings.Join(lines[max(0, len(lines)-15):], "\n")
}
