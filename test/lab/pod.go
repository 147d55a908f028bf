package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// Pod is a pod without containers: a Pod object, and a sandbox that the CNI plugins were called for.
type Pod struct {
	Namespace, Name string
	Node            *Node
	// ContainerID, Netns and Interface are what the plugins were told.
	ContainerID, Netns, Interface string
	// Addresses are those of the CNI result, Result is the result itself.
	Addresses []netip.Addr
	Result    json.RawMessage
}

// PodOptions are what a pod may have.
type PodOptions struct {
	Annotations map[string]string
	Labels      map[string]string
	// Owner is the pod's controller, if it is to have one.
	Owner *metav1.OwnerReference
	// CNIArgs are added to CNI_ARGS: "K=V;K=V".
	CNIArgs string
	// ContainerID is made up if empty.
	ContainerID string
	// NoObject leaves the Pod object out.
	NoObject bool
}

// StartPod does what kubelet and a runtime do for a pod: the object (scheduled already), the network namespace, CNI
// ADD, the status. key is "namespace/name"; the namespace is made if it is missing. When ADD fails, the Pod object is
// left, as in a cluster; StopPod takes the rest away.
func (l *Lab) StartPod(ctx context.Context, n *Node, key string, o PodOptions) (*Pod, error) {
	p := &Pod{Node: n, Interface: "eth0", ContainerID: o.ContainerID}
	p.Namespace, p.Name = splitKey(key)
	if p.ContainerID == "" {
		p.ContainerID = randomHex(32)
	}
	p.Netns = "cni-" + p.ContainerID[:min(12, len(p.ContainerID))]
	object := podObject(p, o)
	if !o.NoObject {
		if err := l.createPod(ctx, object); err != nil {
			return nil, err
		}
	}
	annotations, err := json.Marshal(o.Annotations)
	if err != nil {
		return nil, fmt.Errorf("write the annotations of pod %s: %w", key, err)
	}
	out, err := p.CNI(ctx, "add", append(cniArgs(p, string(object.UID), o.CNIArgs), "--pod-annotations="+string(annotations))...).Output()
	if err != nil {
		return p, fmt.Errorf("ADD of %s: %w", key, err)
	}
	if err := p.read(out); err != nil {
		return p, err
	}
	l.mu.Lock()
	l.pods[p.Key()] = p
	l.mu.Unlock()
	if o.NoObject {
		return p, nil
	}
	for _, a := range p.Addresses {
		object.Status.PodIPs = append(object.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	if len(p.Addresses) > 0 {
		object.Status.PodIP = p.Addresses[0].String()
	}
	object.Status.Phase = corev1.PodRunning
	object.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if err := l.Client.Status().Update(ctx, object); err != nil {
		return p, fmt.Errorf("write the status of pod %s: %w", key, err)
	}
	return p, nil
}

// StopPod calls CNI DEL, and deletes the network namespace and the Pod object.
func (l *Lab) StopPod(ctx context.Context, p *Pod) error {
	if out, err := p.CNI(ctx, "del", cniArgs(p, "", "")...).CombinedOutput(); err != nil {
		return fmt.Errorf("DEL of %s/%s: %w: %s", p.Namespace, p.Name, err, out)
	}
	l.mu.Lock()
	if l.pods[p.Key()] == p {
		delete(l.pods, p.Key())
	}
	l.mu.Unlock()
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
	if err := client.IgnoreNotFound(l.Client.Delete(ctx, object, client.GracePeriodSeconds(0))); err != nil {
		return fmt.Errorf("delete pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

// CNI prepares a call of the node's CNI plugins for the pod: add, del, check, gc or status.
func (p *Pod) CNI(ctx context.Context, verb string, args ...string) *Cmd {
	argv := []string{p.Node.lab.Bin("lab-node"), "cni", verb, "--path=" + p.Node.lab.CNIPath(), "--id=" + p.ContainerID,
		"--netns=" + p.Netns, "--ifname=" + p.Interface}
	return p.Node.Command(ctx, append(argv, args...)...)
}

// CNIPath is where the plugins are: ours and Debian's reference plugins.
func (l *Lab) CNIPath() string { return l.Bin("") + ":/usr/lib/cni" }

// Command prepares a command in the pod's network namespace.
func (p *Pod) Command(ctx context.Context, argv ...string) *Cmd {
	return &Cmd{ctx: ctx, runner: p.Node.runner, spec: machine.Spec{Node: p.Node.Name, Netns: p.Netns, Argv: argv}}
}

// Run runs a command in the pod and returns what it printed.
func (p *Pod) Run(ctx context.Context, argv ...string) (string, error) {
	return p.Command(ctx, argv...).CombinedOutput()
}

// V4 is the pod's first IPv4 address, V6 its first IPv6 address; invalid if it has none.
func (p *Pod) V4() netip.Addr { return p.first(netip.Addr.Is4) }

// V6 is the pod's first IPv6 address.
func (p *Pod) V6() netip.Addr { return p.first(netip.Addr.Is6) }

func (p *Pod) first(is func(netip.Addr) bool) netip.Addr {
	for _, a := range p.Addresses {
		if is(a) {
			return a
		}
	}
	return netip.Addr{}
}

// Key is "namespace/name".
func (p *Pod) Key() string { return p.Namespace + "/" + p.Name }

func (p *Pod) read(result string) error {
	var r struct {
		IPs []struct {
			Address netip.Prefix `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal([]byte(result), &r); err != nil {
		return fmt.Errorf("read the CNI result of %s: %w: %s", p.Key(), err, result)
	}
	p.Result = json.RawMessage(result)
	for _, i := range r.IPs {
		p.Addresses = append(p.Addresses, i.Address.Addr())
	}
	return nil
}

func (l *Lab) createPod(ctx context.Context, object *corev1.Pod) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: object.Namespace}}
	if err := l.Client.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get namespace %s: %w", object.Namespace, err)
	} else if err != nil {
		if err := client.IgnoreAlreadyExists(l.Client.Create(ctx, namespace)); err != nil {
			return fmt.Errorf("create namespace %s: %w", object.Namespace, err)
		}
	}
	if err := l.Client.Create(ctx, object); err != nil {
		return fmt.Errorf("create pod %s/%s: %w", object.Namespace, object.Name, err)
	}
	return nil
}

func podObject(p *Pod, o PodOptions) *corev1.Pod {
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Annotations: o.Annotations, Labels: o.Labels},
		Spec:       corev1.PodSpec{NodeName: p.Node.Name, Containers: []corev1.Container{{Name: "none", Image: "none"}}},
	}
	if o.Owner != nil {
		object.OwnerReferences = []metav1.OwnerReference{*o.Owner}
	}
	return object
}

func cniArgs(p *Pod, uid, more string) []string {
	pairs := []string{"IgnoreUnknown=1", "K8S_POD_NAMESPACE=" + p.Namespace, "K8S_POD_NAME=" + p.Name,
		"K8S_POD_INFRA_CONTAINER_ID=" + p.ContainerID}
	if uid != "" {
		pairs = append(pairs, "K8S_POD_UID="+uid)
	}
	if more != "" {
		pairs = append(pairs, more)
	}
	return []string{"--args=" + strings.Join(pairs, ";")}
}

func splitKey(key string) (namespace, name string) {
	if before, after, ok := strings.Cut(key, "/"); ok {
		return before, after
	}
	return "", key
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // It never fails (crypto/rand).
	return hex.EncodeToString(b)
}
