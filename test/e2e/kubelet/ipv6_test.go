package kubelet_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/test/cluster"
)

// TestIPv6Only is a cluster whose nodes, pods and Services have no IPv4 address at all, with kube-proxy in its mode iptables, and with
// the container runtime CRI-O. Its nodes are in different subnets, so that pods' packets go through a tunnel over IPv6.
func TestIPv6Only(t *testing.T) {
	f := begin(t, cluster.Options{Nodes: 2, Subnets: 2, IPv6Only: true, Proxy: "iptables", Runtime: "crio", Tainted: true})
	f.step("nodes keep pods away until they have a network", func() {
		for _, n := range f.Nodes {
			if taints := f.taints(n); !strings.Contains(taints, "causeway.dev/agent-not-ready") {
				t.Errorf("%s registers with the taints %q", n.Name, taints)
			}
		}
	})
	f.step("install", func() {
		f.install()
		for _, n := range f.Nodes {
			if taints := f.taints(n); strings.Contains(taints, "causeway.dev") {
				t.Errorf("%s is ready and has the taints %q", n.Name, taints)
			}
		}
	})
	f.step("pods", f.pods)
	f.step("no IPv4", f.noIPv4)
	f.step("services, host ports, DNS, MTU", f.services)
	f.step("kubectl causeway check", f.allIsWell)
	f.step("agents roll out", f.rollAgents)
	f.step("an agent is killed", f.killAgent)
	f.step("CRI-O restarts", f.restartRuntimes)
	f.step("no ping is lost", f.unwatch)
	f.step("uninstall", f.uninstall)
}

// restartRuntimes leaves the kubelets alone: on nodes that share a machine, one that starts asks its own CRI-O for three seconds about
// each container of the other nodes.
func (f *fixture) restartRuntimes() {
	for _, n := range f.Nodes {
		if err := n.RestartRuntime(); err != nil {
			f.t.Fatal(err)
		}
	}
	f.crowd(16)
	f.audit()
}

func (f *fixture) taints(n *cluster.Node) string {
	f.t.Helper()
	return f.kubectl("get", "node", n.Name, "-o", "jsonpath={.spec.taints[*].key}")
}

// noIPv4 looks for addresses and routes of a family that the cluster does not have. The way to the pods' gateway is there all the same,
// since the agent can't know that no pool of that family will come.
func (f *fixture) noIPv4() {
	for _, pod := range []string{"still-1", "server"} {
		for _, a := range strings.Fields(f.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIPs[*].ip}")) {
			if address, err := netip.ParseAddr(a); err != nil || address.Is4() {
				f.t.Errorf("pod %s has the address %q", pod, a)
			}
		}
	}
	for _, n := range f.Nodes {
		out, err := n.Run(f.t.Context(), "sh", "-c", "ip -4 -br addr show scope global; ip -4 route show table all proto 202 | grep -v '^169.254.1.1 ' || true")
		if err != nil {
			f.t.Fatal(err)
		}
		if out != "" {
			f.t.Errorf("%s has of IPv4: %s", n.Name, out)
		}
	}
}
