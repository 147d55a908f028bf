package trust_test

import (
	"fmt"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func named(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: name}}
}

func lease(node string) *coordinationv1.Lease {
	seconds, now := int32(40), metav1.NowMicro()
	l := named(v1alpha1.AgentLeasePrefix + node)
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &node, LeaseDurationSeconds: &seconds, RenewTime: &now}
	return l
}

func event(about, host string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "default", GenerateName: "own."},
		InvolvedObject: corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeNetwork", Name: about},
		Type:           corev1.EventTypeNormal, Reason: "Test", Message: "A test.", Count: 1,
		Source: corev1.EventSource{Component: "causeway-agent", Host: host},
	}
}

// label is a change that every kind takes.
var label = client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))

const noRight = "cannot"

// TestAgentToken asks for every verb on every kind, for the node of the token and for another one, with a bound token.
func TestAgentToken(t *testing.T) {
	w := begin(t)
	ctx := t.Context()
	for _, node := range []string{"own", "other"} {
		create(ctx, t, w.Client, &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: node}})
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "tls"}}
	password := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.BGPNamespace, Name: "password"}}
	create(ctx, t, w.Client, secret, password, lease("other"), claim("other"), &v1alpha1.BGPNodeState{ObjectMeta: metav1.ObjectMeta{Name: "other"}})
	create(ctx, t, w.agents["other"], endpoint("other"))
	leader := named("causeway-controller")
	create(ctx, t, w.Client, leader)

	status := func(o client.Object) func(client.Client) error {
		return func(c client.Client) error {
			return c.Status().Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"conditions":[]}}`)))
		}
	}
	makes := func(o client.Object) func(client.Client) error {
		return func(c client.Client) error { return c.Create(ctx, o) }
	}
	patches := func(o client.Object) func(client.Client) error {
		return func(c client.Client) error { return c.Patch(ctx, o, label) }
	}
	deletes := func(o client.Object) func(client.Client) error {
		return func(c client.Client) error { return c.Delete(ctx, o) }
	}
	lists := func(l client.ObjectList, o ...client.ListOption) func(client.Client) error {
		return func(c client.Client) error { return c.List(ctx, l, o...) }
	}
	gets := func(o client.Object) func(client.Client) error {
		return func(c client.Client) error { return c.Get(ctx, client.ObjectKeyFromObject(o), o) }
	}
	network := func(node string) *v1alpha1.NodeNetwork {
		return &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: node}}
	}
	state := func(node string) *v1alpha1.BGPNodeState {
		return &v1alpha1.BGPNodeState{ObjectMeta: metav1.ObjectMeta{Name: node}}
	}
	claims := func(node, pools string) func(client.Client) error {
		return func(c client.Client) error {
			return c.Patch(ctx, claim(node), client.RawPatch(merge, fmt.Appendf(nil, `{"spec":{"pools":[%s]}}`, pools)))
		}
	}
	asksFor := func(node string, n int) func(client.Client) error {
		var addresses []string
		for i := range n {
			addresses = append(addresses, fmt.Sprintf(`"10.9.0.%d"`, i+1))
		}
		return claims(node, fmt.Sprintf(`{"pool":"four","asks":[%s]}`, strings.Join(addresses, ",")))
	}
	pool := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	for _, c := range []struct {
		name string
		ask  func(client.Client) error
		want string
	}{
		{"create its endpoint", makes(endpoint("own")), ""},
		{"create another's endpoint", makes(endpoint("other", rename)), "of its own node only"},
		{"change its endpoint", patches(endpoint("own")), noRight},
		{"delete another's endpoint", deletes(endpoint("other")), "of its own node only"},
		{"delete its endpoint", deletes(endpoint("own")), ""},
		{"list endpoints of its node", lists(&v1alpha1.WorkloadEndpointList{}, client.MatchingFields{"spec.node": "own"}), ""},
		{"status of its network", status(network("own")), ""},
		{"status of another's network", status(network("other")), "of its own node only"},
		{"change its network's spec", patches(network("own")), noRight},
		{"create a network", makes(network("third")), noRight},
		{"delete its network", deletes(network("own")), noRight},
		{"create its claim", makes(claim("own")), ""},
		{"change its claim", patches(claim("own")), ""},
		{"status of its claim", status(claim("own")), ""},
		{"create another's claim", makes(claim("third")), "of its own node only"},
		{"change another's claim", patches(claim("other")), "of its own node only"},
		{"status of another's claim", status(claim("other")), "of its own node only"},
		{"want 2^30 addresses", func(c client.Client) error {
			greedy := claim("own")
			return c.Patch(ctx, greedy, client.RawPatch(merge, []byte(`{"spec":{"pools":[{"pool":"four","wanted":1073741824}]}}`)))
		}, "should be less than or equal to 65536"},
		{"ask for 64 addresses", asksFor("own", 64), ""},
		{"ask for 65 addresses", asksFor("own", 65), "must have at most 64 items"},
		{"ask for what is no address", claims("own", `{"pool":"four","asks":["10.9.0.0/26"]}`), "not an IP address"},
		{"ask in another's name", asksFor("other", 1), "of its own node only"},
		{"give up a loan", claims("own", `{"pool":"four","given":[{"cidr":"10.9.0.5/32","id":"a-1.5.0"}]}`), ""},
		{"give up a loan of no possible id", claims("own", `{"pool":"four","given":[{"cidr":"10.9.0.5/32","id":"A.5.0"}]}`), "should match"},
		{"give up a loan in another's name", claims("other", `{"pool":"four","given":[{"cidr":"10.9.0.5/32","id":"a-1.5.0"}]}`), "of its own node only"},
		{"lend itself a range", func(c client.Client) error {
			return c.Patch(ctx, block("10.250.0.0/26", "any"), client.RawPatch(merge, []byte(lentTo("10.250.0.5/32", "own", true))))
		}, noRight},
		{"show other addresses than it has", func(c client.Client) error {
			patch := `{"status":{"addresses":[{"address":"192.0.2.1","subnet":"192.0.2.0/24","interface":"eth0"}],"addressList":"192.0.2.2"}}`
			return c.Status().Patch(ctx, network("own"), client.RawPatch(merge, []byte(patch)))
		}, "joined by commas"},
		{"report its addresses", func(c client.Client) error {
			patch := `{"status":{"addresses":[{"address":"192.0.2.1","subnet":"192.0.2.0/24","interface":"eth0"}],"addressList":"192.0.2.1"}}`
			return c.Status().Patch(ctx, network("own"), client.RawPatch(merge, []byte(patch)))
		}, ""},
		{"delete another's claim", deletes(claim("other")), noRight},
		{"create its BGP state", makes(state("own")), ""},
		{"status of its BGP state", status(state("own")), ""},
		{"create another's BGP state", makes(state("third")), "of its own node only"},
		{"status of another's BGP state", status(state("other")), "of its own node only"},
		{"create its lease", makes(lease("own")), ""},
		{"renew another's lease", func(c client.Client) error {
			var l coordinationv1.Lease
			must(t, w.Client.Get(ctx, client.ObjectKeyFromObject(lease("other")), &l))
			return c.Update(ctx, &l)
		}, "only, not causeway-agent-other"},
		{"create another's lease", makes(lease("third")), "only, not causeway-agent-third"},
		{"take the leader's lease", func(c client.Client) error {
			l := leader.DeepCopy()
			l.Spec.HolderIdentity = &l.Name
			return c.Update(ctx, l)
		}, "only, not causeway-controller"},
		{"delete the leader's lease", deletes(leader), noRight},
		{"create a leader's lease", makes(named("causeway-leader")), "only, not causeway-leader"},
		{"event about itself", makes(event("own", "own")), ""},
		{"event about another node", makes(event("other", "own")), "of its own node"},
		{"event in another's name", makes(event("own", "other")), "must say that it comes from causeway-agent on this node"},
		{"create a block", makes(block("10.9.0.0/26", "p")), noRight},
		{"change a block", patches(block("10.9.0.0/26", "p")), noRight},
		{"delete a block", deletes(block("10.9.0.0/26", "p")), noRight},
		{"list blocks", lists(&v1alpha1.IPBlockList{}), ""},
		{"create a pool", makes(pool), noRight},
		{"status of a pool", status(pool), noRight},
		{"list Secrets of causeway-system", lists(&corev1.SecretList{}, client.InNamespace(v1alpha1.SystemNamespace)), noRight},
		{"get a Secret of causeway-system", gets(secret.DeepCopy()), noRight},
		{"list BGP passwords", lists(&corev1.SecretList{}, client.InNamespace(v1alpha1.BGPNamespace)), noRight},
		{"get a BGP password", gets(password.DeepCopy()), ""},
		{"change a BGP password", patches(password), noRight},
		{"create a pod", makes(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}}), noRight},
		{"change a Node", patches(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "own"}}), noRight},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, c.ask(w.own), c.want) })
	}
	for name, ask := range map[string]func(client.Client) error{
		"endpoint": makes(endpoint("own")), "claim": patches(claim("own")), "network": status(network("own")),
		"lease": makes(lease("third")), "event": makes(event("own", "own")), "deletion": deletes(endpoint("other")),
	} {
		t.Run("unbound token: "+name, func(t *testing.T) { check(t, ask(w.unbound), "bound to no node") })
	}
}

// rename gives a record the name and interface of another container, so that only its node is wrong.
func rename(e *v1alpha1.WorkloadEndpoint) {
	fresh := endpoint("third")
	e.Name, e.Spec.ContainerID, e.Spec.Interface, e.Spec.MAC = fresh.Name, fresh.Spec.ContainerID, fresh.Spec.Interface, fresh.Spec.MAC
}
