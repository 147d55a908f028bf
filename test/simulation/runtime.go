package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// podState is how far the container runtime has come with a sandbox.
type podState int

const (
	starting podState = iota // ADD is under way
	running                  // ADD has succeeded: the pod may send and receive
	ending                   // the pod is dead, and DEL must succeed
	deleting                 // DEL is under way
	deleted                  // DEL has succeeded; the namespace is still there
)

// pod is one sandbox.
type pod struct {
	name, uid, container string
	// fixed is the address that the pod asks for, if any.
	fixed string
	// before is what the agent knows when the ADD begins of the addresses that are remembered.
	before    known
	state     podState
	addresses []netip.Addr
}

func (p *pod) hostEnd() string { return names.HostInterface(p.container, "eth0") }

// patience is what the plugin gives a call.
const patience = 25 * time.Second

// startPod is kubelet and container runtime: a Pod, a sandbox, an ADD.
func (m *machine) startPod() {
	m.w.pods++
	p := &pod{name: fmt.Sprintf("pod%d", m.w.pods), uid: fmt.Sprintf("%08x-0001", m.w.pods), container: fmt.Sprintf("c%d", m.w.pods)}
	p.fixed = fixedAddress(m.w.pods)
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: p.name}, Spec: corev1.PodSpec{NodeName: m.name}}
	if name, owner, ok := m.w.replica(); ok && p.fixed == "" {
		p.name, object.Name, object.OwnerReferences = name, name, owner
	}
	m.start(p, object)
}

// start is kubelet and container runtime once the Pod is known.
func (m *machine) start(p *pod, object *corev1.Pod) {
	if _, err := m.w.server.create(object, false); err != nil {
		panic(err)
	}
	object.UID = m.w.server.objects["Pod"][client.ObjectKeyFromObject(object)].GetUID()
	p.uid = string(object.UID)
	m.pods = append(m.pods, p)
	m.makeNamespace(p.container)
	a, boot := m.agent, m.boots
	if a == nil {
		p.state = ending // the plugin finds no agent, and the runtime gives the sandbox up
		return
	}
	p.before = a.knows(p.name)
	go func() {
		response, ok := a.call(p, "ADD")
		if m.boots != boot || p.state != starting {
			return
		}
		p.state = ending
		if ok {
			p.state, p.addresses = running, addressesIn(response.Result)
			if asked, err := netip.ParseAddr(p.fixed); err == nil && !slices.Contains(p.addresses, asked) {
				m.w.fail("pod %s asked for %s and has %v", p.name, asked, p.addresses)
			}
			m.w.answered(m, p)
			m.w.checkRemembered(m, p, a)
		}
	}()
}

// fixedAddress lets every fourth pod ask for one of the first addresses of a pool, so that pods of several nodes ask for the same.
func fixedAddress(number int) string {
	if number%4 != 0 {
		return ""
	}
	a := netip.MustParsePrefix(pools[number/4%len(pools)].cidr).Addr()
	for range number / 4 % 7 {
		a = a.Next()
	}
	return a.String()
}

// call is the plugin. It reports false where the call failed or the agent ended meanwhile.
func (a *agent) call(p *pod, verb string) (protocol.Response, bool) {
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	annotations := ""
	if p.fixed != "" {
		annotations = fmt.Sprintf(`,"runtimeConfig":{"io.kubernetes.cri.pod-annotations":{%q:%q}}`, v1alpha1.AnnotationIPs, p.fixed)
	}
	response := a.server.Handle(ctx, protocol.Request{
		Command: verb, ContainerID: p.container, Interface: "eth0", NetworkNamespace: a.on.namespace(p.container),
		Args:   "IgnoreUnknown=1;K8S_POD_NAMESPACE=" + namespace + ";K8S_POD_NAME=" + p.name + ";K8S_POD_UID=" + p.uid,
		Config: []byte(`{"cniVersion":"1.0.0","name":"causeway","type":"causeway"` + annotations + `}`),
	})
	return response, response.Error == nil && a.ctx.Err() == nil
}

func addressesIn(result json.RawMessage) (out []netip.Addr) {
	var parsed struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err := json.Unmarshal(result, &parsed); err != nil {
		panic(fmt.Sprintf("a result that can't be read: %v", err))
	}
	for _, ip := range parsed.IPs {
		out = append(out, ip.Address.Addr())
	}
	return out
}

// endPod kills a pod's processes. early runtimes remove the namespace before they call DEL.
func (m *machine) endPod(p *pod, early bool) {
	p.state = ending
	if early {
		m.dropNamespace(p.container)
	}
}

// deletePod calls DEL for a dead pod.
func (m *machine) deletePod(p *pod) {
	a, boot := m.agent, m.boots
	if a == nil {
		return
	}
	p.state = deleting
	go func() {
		_, ok := a.call(p, "DEL")
		if m.boots != boot {
			return
		}
		if !ok {
			p.state = ending
			return
		}
		p.state = deleted
	}()
}

// finishPod removes the namespace of a pod whose DEL has succeeded.
func (m *machine) finishPod(p *pod) {
	m.dropNamespace(p.container)
	m.forgetPod(p)
}

// forgetPod is the end: the runtime has forgotten the sandbox, and kubelet deletes the Pod.
func (m *machine) forgetPod(p *pod) {
	m.pods = slices.DeleteFunc(m.pods, func(o *pod) bool { return o == p })
	_ = m.w.server.drop("Pod", client.ObjectKey{Namespace: namespace, Name: p.name}, nil)
}

// podsIn returns the pods in a state.
func (m *machine) podsIn(s podState) (out []*pod) {
	for _, p := range m.pods {
		if p.state == s {
			out = append(out, p)
		}
	}
	return out
}
