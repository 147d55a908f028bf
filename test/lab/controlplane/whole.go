package controlplane

import (
	"net/netip"
	"path/filepath"
)

// Services of a whole control plane have addresses of these ranges. The first of each is the API server's. Where the API server
// itself has an IPv6 address, the cluster has no IPv4.
const (
	ServicesV4 = "10.96.0.0/16"
	ServicesV6 = "fd00:10:96::/112"
)

// serverNames are what pods call the API server.
var serverNames = []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}

// addresses are those that somebody may reach the API server by.
func (c *ControlPlane) addresses() []netip.Addr {
	out := []netip.Addr{c.o.Address, netip.MustParseAddr("127.0.0.1")}
	for _, services := range []string{ServicesV4, ServicesV6} {
		out = append(out, netip.MustParsePrefix(services).Addr().Next())
	}
	return out
}

// services are the ranges that Services get addresses of.
func (c *ControlPlane) services() string {
	if c.o.Address.Is6() {
		return ServicesV6
	}
	return ServicesV4 + "," + ServicesV6
}

// wholeAPI are the API server's arguments where there are kubelets and a controller manager.
func (c *ControlPlane) wholeAPI() []string {
	return []string{
		"--service-cluster-ip-range=" + c.services(),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--kubelet-client-certificate=" + filepath.Join(c.o.Dir, "to-kubelet.crt"),
		"--kubelet-client-key=" + filepath.Join(c.o.Dir, "to-kubelet.key"),
		"--kubelet-preferred-address-types=InternalIP",
	}
}

// writeKubeletClient writes the certificate that the API server shows to kubelets.
func (c *ControlPlane) writeKubeletClient() error {
	cert, key, err := c.authority.issue("kube-apiserver-kubelet-client", []string{"system:masters"}, nil)
	if err != nil {
		return err
	}
	return writeFiles(map[string][]byte{
		filepath.Join(c.o.Dir, "to-kubelet.crt"): cert, filepath.Join(c.o.Dir, "to-kubelet.key"): key,
	})
}

// startOthers starts the scheduler and the controller manager.
func (c *ControlPlane) startOthers() error {
	in := func(name string) string { return filepath.Join(c.o.Dir, name) }
	for _, p := range []struct {
		program, user string
		args          []string
	}{
		{"kube-scheduler", "system:kube-scheduler", nil},
		{"kube-controller-manager", "system:kube-controller-manager", []string{
			"--use-service-account-credentials", "--root-ca-file=" + in("ca.crt"),
			"--service-account-private-key-file=" + in("accounts.key"), "--allocate-node-cidrs=false",
		}},
	} {
		kubeconfig, err := c.Kubeconfig(p.program+".kubeconfig", p.user)
		if err != nil {
			return err
		}
		args := append([]string{"--kubeconfig=" + kubeconfig, "--leader-elect=false", "--profiling=false"}, p.args...)
		d, err := StartDaemon(c.o.Dir, filepath.Join(c.o.Bin, p.program), args...)
		if err != nil {
			return err
		}
		c.others = append(c.others, d)
	}
	return nil
}

// CA is the path of the authority's certificate.
func (c *ControlPlane) CA() string { return filepath.Join(c.o.Dir, "ca.crt") }
