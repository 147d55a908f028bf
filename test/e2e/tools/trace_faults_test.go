package tools_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/test/lab"
)

// planted puts a fault into a place, waits until the trace names it, and takes it away again.
func planted(t *testing.T, l *lab.Lab, at lab.Place, plant, mend string, args []string, texts ...string) {
	t.Helper()
	run := func(script string) {
		if out, err := at.Command(t.Context(), "sh", "-ec", script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	run(plant)
	defer run(mend)
	await(t, l, 1, append([]string{"trace"}, args...), texts...)
}

// faults plants one fault after the other.
func faults(t *testing.T, l *lab.Lab, pods []*lab.Pod) {
	node1, node2 := l.Nodes[0], l.Nodes[1]
	near := []string{"pod-0", "pod-1"}
	to := pods[1].V4()
	t.Run("blackhole route", func(t *testing.T) {
		planted(t, l, node1, fmt.Sprintf("ip route add blackhole %s/32 proto static", to), fmt.Sprintf("ip route del blackhole %s/32", to), near,
			"Dropped at node node1 (RouteRejects)", "blackhole "+to.String())
	})
	t.Run("nft rule", func(t *testing.T) {
		planted(t, l, node2, "nft add table inet foreign; nft 'add chain inet foreign f { type filter hook forward priority 0; }'; nft add rule inet foreign f ip daddr "+to.String()+" drop",
			"nft delete table inet foreign", near, "Dropped at node node2 (Firewall)", "table inet foreign, chain f: ip daddr "+to.String()+" drop")
	})
	t.Run("policy that lets others in", func(t *testing.T) {
		planted(t, l, node2, "nft add table inet foreign; nft 'add chain inet foreign pods { type filter hook forward priority 10; policy drop; }'; nft add rule inet foreign pods ip saddr != "+pods[0].V4().String()+" accept",
			"nft delete table inet foreign", near, "Dropped at node node2 (Firewall)", "chain pods: policy drop")
	})
	t.Run("wrong neighbour", func(t *testing.T) {
		planted(t, l, node1, fmt.Sprintf("ip neigh replace %s lladdr 02:00:00:00:00:99 dev eth0 nud permanent", node2.V4), fmt.Sprintf("ip neigh del %s dev eth0", node2.V4), near,
			"Dropped at node node1 (WrongNeighbour)", "02:00:00:00:00:99")
	})
	t.Run("reverse path filter", func(t *testing.T) {
		// Somebody's routing rule leads what is for pod-0 to another link, so that its packets come from the wrong one.
		planted(t, l, node1, fmt.Sprintf("ip link add lead type veth peer name lead-peer; ip link set lead up; ip link set lead-peer up; ip route add %[1]s dev lead table 100; ip rule add to %[1]s lookup 100 priority 100", pods[0].V4()),
			"ip link del lead; ip rule del priority 100", near,
			"Dropped at node node1 (ReversePathFilter)", "the way back to "+pods[0].V4().String()+" is by lead")
	})
	t.Run("Service without endpoints", func(t *testing.T) {
		l.Create(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "empty"}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 80}}}})
		await(t, l, 1, []string{"trace", "pod-0", "svc/empty:80"}, "Dropped at node node1 (NoEndpoints)", "has no endpoints")
	})
}
