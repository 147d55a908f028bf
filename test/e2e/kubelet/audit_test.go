package kubelet_test

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/cluster"
)

// audit compares, node by node, what must be equal: pods, WorkloadEndpoints, links, routes, and the runtime's namespaces.
func (f *fixture) audit() {
	f.t.Helper()
	f.eventually("pods, endpoints, links, routes and namespaces are the same", func() error {
		var pods corev1.PodList
		var endpoints v1alpha1.WorkloadEndpointList
		if err := f.Client.List(f.t.Context(), &pods); err != nil {
			return err
		}
		if err := f.Client.List(f.t.Context(), &endpoints); err != nil {
			return err
		}
		holders := map[string]string{}
		for _, e := range endpoints.Items {
			for _, a := range e.Spec.Addresses {
				if other, twice := holders[a]; twice {
					return fmt.Errorf("%s is given to %s and to %s/%s", a, other, e.Namespace, e.Name)
				}
				holders[a] = e.Namespace + "/" + e.Name
			}
		}
		for _, n := range f.Nodes {
			if err := f.auditNode(n, pods.Items, endpoints.Items); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *fixture) auditNode(n *cluster.Node, pods []corev1.Pod, endpoints []v1alpha1.WorkloadEndpoint) error {
	var want, have []string
	for _, p := range pods {
		if p.Spec.NodeName == n.Name && !p.Spec.HostNetwork && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			want = append(want, p.Namespace+"/"+p.Name)
		}
	}
	links := map[string]bool{}
	for _, e := range endpoints {
		if e.Spec.Node == n.Name {
			have = append(have, e.Namespace+"/"+e.Spec.Pod)
			links[e.Spec.Interface] = true
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		return fmt.Errorf("%s has the pods %v, and endpoints of %v", n.Name, want, have)
	}
	family := "-4" // Each pod has one route of each.
	if n.Addresses()[0].Is6() {
		family = "-6"
	}
	// CRI-O has a handle on the node's own network namespace for each pod of the node's network.
	out, err := n.Run(f.t.Context(), "sh", "-c", `ip -br link show type veth; echo; ip `+family+` route show table all proto 202; echo
stat -c %i /run/netns/* 2>/dev/null | grep -vx "$(stat -Lc %i /proc/self/ns/net)" || true`)
	if err != nil {
		return err
	}
	parts := strings.Split(out, "\n\n")
	if len(parts) != 3 {
		return fmt.Errorf("%s prints %q", n.Name, out)
	}
	kernel, routes, namespaces := 0, 0, len(strings.Fields(parts[2]))
	for _, line := range strings.Split(parts[0], "\n") {
		name, _, _ := strings.Cut(strings.Fields(line + " .")[0], "@")
		if strings.HasPrefix(name, "cw") {
			if kernel++; !links[name] {
				return fmt.Errorf("%s has the link %s that no endpoint has", n.Name, name)
			}
		}
	}
	for _, line := range strings.Split(parts[1], "\n") {
		for link := range links {
			if strings.Contains(line+" ", " dev "+link+" ") {
				routes++
			}
		}
	}
	if kernel != len(want) || routes != len(want) || namespaces != len(want) {
		return fmt.Errorf("%s has %d pods, %d links, %d routes to them and %d namespaces", n.Name, len(want), kernel, routes, namespaces)
	}
	return nil
}

// print shows everything on a node that an installation may change. The tables called nat are the plugin portmap's, which is not
// ours: it leaves them empty after the last host port, as CRI-O leaves its own. Those and the others left out are kube-proxy's where it has the
// mode iptables.
func (f *fixture) print(n *cluster.Node) string {
	f.t.Helper()
	out, err := n.Run(f.t.Context(), "sh", "-c", `
for table in link addr; do echo "== ip $table"; ip -br $table show | grep -v -e veth | sed 's/ fe80::[^ ]*//'; done
echo "== routes"; ip -4 route show table all; ip -6 route show table all | grep -v -e fe80 -e anycast -e multicast | sed 's/ expires [^ ]*//'
echo "== rules"; ip -4 rule; ip -6 rule
echo "== neighbours"; ip neigh show nud permanent
echo "== nftables"; nft list tables | grep -v -e kube-proxy -e crio-hostports -e ' nat$' -e ' filter$' -e ' mangle$'
echo "== files"; ls -A /etc/cni/net.d /opt/cni/bin; ls -d /run/causeway /var/lib/causeway 2>/dev/null
echo "== processes"; pgrep -a causeway || true`)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}
