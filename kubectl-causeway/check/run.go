package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// Options say what to check.
type Options struct {
	// Image of the pods, with causeway-agent in it.
	Image string
	// Sample is how many others each pod asks.
	Sample int
	// Outside are hosts with ports beyond the cluster that pods shall reach.
	Outside []string
	// Patience is how long pods may take to start.
	Patience time.Duration
	// Keep leaves the pods there.
	Keep bool
	// Follow traces a packet from a pod to an address and port, and says where it ends. Nil for no traces.
	Follow func(ctx context.Context, namespace, pod, target string) (string, error)
	// Say tells a person how far it is.
	Say func(sentence string)
}

const (
	container   = "probe"
	serviceName = "check"
	// cleanUp is how long the end may take.
	cleanUp = 2 * time.Minute
	pause   = 500 * time.Millisecond
	// atOnce is how many pods are made to ask at a time.
	atOnce = 8
	// nobody is the user that the image is made for.
	nobody = int64(65532)
)

// Run checks the network. The error says why it could not.
func Run(ctx context.Context, c *objects.Connection, o Options) (report Report, err error) {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return report, fmt.Errorf("list nodes: %w", err)
	}
	r := &run{Options: o, Connection: c}
	wanted := r.choose(nodes.Items)
	if len(wanted) == 0 {
		return r.report, errors.New("no node is ready, so there is nothing to check: see kubectl causeway status")
	}
	r.sweep(ctx)
	most := longest(o.Patience, len(wanted))
	ctx, cancel := context.WithTimeoutCause(ctx, most-cleanUp, fmt.Errorf("the check has taken longer than %s", most-cleanUp))
	defer cancel()
	if err := r.make(ctx, wanted, most); err != nil {
		return r.report, errors.Join(err, r.end(ctx))
	}
	defer func() { err = errors.Join(err, r.end(ctx)) }()
	world, err := r.await(ctx, wanted)
	if err != nil {
		return r.report, err
	}
	world.Outside = o.Outside
	r.report.Nodes = len(world.Pods)
	r.report.Tests = Plan(world, o.Sample)
	r.ask(ctx, world)
	r.follow(ctx, world)
	return r.report, context.Cause(ctx)
}

// sweep takes away what killed checks have left. One that may not do so goes on without.
func (r *run) sweep(ctx context.Context) {
	gone, err := sweep(ctx, r.Client, r.Now())
	if len(gone) > 0 {
		r.Say("Taking away what killed checks have left: " + strings.Join(gone, ", ") + ".")
	}
	if err != nil {
		r.Say(err.Error() + ".")
	}
}

// follow traces the first packet that got no answer, while the pods are there.
func (r *run) follow(ctx context.Context, w World) {
	t, found := r.report.Worst()
	if !found || r.Follow == nil {
		return
	}
	i := slices.IndexFunc(w.Pods, func(p Pod) bool { return p.Node == t.From })
	r.Say(fmt.Sprintf("Following a packet from %s to %s.", t.From, t.To))
	sentence, err := r.Follow(ctx, r.namespace, w.Pods[i].Name, t.Question.Target)
	if err != nil {
		r.trouble("The packet could not be followed: %v", err)
		return
	}
	r.report.Trace = fmt.Sprintf("A packet from the pod on %s to %s (%s): %s", t.From, t.To, t.Question.Target, sentence)
}

type run struct {
	Options
	*objects.Connection
	namespace string
	mu        sync.Mutex
	report    Report
}

func (r *run) trouble(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Troubles = append(r.report.Troubles, fmt.Sprintf(format, args...))
}

// choose leaves out nodes that can't run pods, and says so.
func (r *run) choose(nodes []corev1.Node) []string {
	var out []string
	for _, n := range nodes {
		ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		switch os := n.Labels[corev1.LabelOSStable]; {
		case os != "" && os != "linux":
		case !ready:
			r.trouble("Node %s is not tested: it is not ready.", n.Name)
		default:
			out = append(out, n.Name)
		}
	}
	return out
}

// home is the namespace of a check of some nodes.
func (r *run) home(nodes int) *corev1.Namespace {
	end := passing
	if r.Keep {
		end = kept
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "causeway-check-", Annotations: map[string]string{lasts: longest(r.Patience, nodes).String()},
		Labels: map[string]string{label: end, "pod-security.kubernetes.io/enforce": "restricted"},
	}}
}

// make makes the namespace, a Service, and a pod on each node.
func (r *run) make(ctx context.Context, nodes []string, most time.Duration) error {
	namespace := r.home(len(nodes))
	if err := r.Create(ctx, namespace); err != nil {
		return fmt.Errorf("make a namespace for the check: %w", err)
	}
	r.namespace = namespace.Name
	r.Say(fmt.Sprintf("Starting a pod on each of %d nodes, in the namespace %s.", len(nodes), r.namespace))
	dual := corev1.IPFamilyPolicyPreferDualStack
	parts := []client.Object{&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: serviceName},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{label: passing}, IPFamilyPolicy: &dual,
			Ports: []corev1.ServicePort{{Port: servicePort, TargetPort: intstr.FromInt32(probe.Port)}},
		},
	}}
	for i, node := range nodes {
		parts = append(parts, r.pod(fmt.Sprintf("probe-%d", i+1), node, most))
	}
	for _, o := range parts {
		// The namespace's service account comes a moment after it.
		for {
			err := r.Create(ctx, o)
			if err == nil {
				break
			}
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "serviceaccount") {
				return fmt.Errorf("make what the check needs: %w", err)
			}
			if err := objects.Sleep(ctx, pause); err != nil {
				return err
			}
		}
	}
	return nil
}

// pod is a pod of the check, which ends by itself after the longest time that the check may take.
func (r *run) pod(name, node string, most time.Duration) *corev1.Pod {
	no, yes, user, soon := false, true, nobody, int64(1)
	var deadline *int64
	if seconds := int64(most.Seconds()); !r.Keep {
		deadline = &seconds
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name, Labels: map[string]string{label: passing}},
		Spec: corev1.PodSpec{
			// Not by the scheduler: a node without room for pods has a network too.
			NodeName: node, RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
			TerminationGracePeriodSeconds: &soon, ActiveDeadlineSeconds: deadline,
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: container, Image: r.Image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"/usr/local/bin/causeway-agent", "probe", "serve", "--name=" + name},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// await waits until pods run, and goes on without those that don't.
func (r *run) await(ctx context.Context, nodes []string) (World, error) {
	deadline := time.Now().Add(r.Patience)
	for {
		var pods corev1.PodList
		if err := r.List(ctx, &pods, client.InNamespace(r.namespace)); err != nil {
			return World{}, fmt.Errorf("list the check's pods: %w", err)
		}
		var w World
		for i := range pods.Items {
			if p := &pods.Items[i]; p.Status.Phase == corev1.PodRunning && len(p.Status.PodIPs) > 0 {
				w.Pods = append(w.Pods, Pod{Name: p.Name, Node: p.Spec.NodeName, Addresses: addresses(p.Status.PodIPs)})
			}
		}
		late := time.Now().After(deadline)
		if len(w.Pods) == len(nodes) || late {
			for i := range pods.Items {
				if p := &pods.Items[i]; p.Status.Phase != corev1.PodRunning || len(p.Status.PodIPs) == 0 {
					r.trouble("Node %s is not tested: pod %s does not start. %s", p.Spec.NodeName, p.Name, r.why(ctx, p))
				}
			}
			return w, r.service(ctx, &w)
		}
		if err := objects.Sleep(ctx, pause); err != nil {
			return w, err
		}
	}
}

func (r *run) service(ctx context.Context, w *World) error {
	var s corev1.Service
	if err := r.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: serviceName}, &s); err != nil {
		return fmt.Errorf("look at the check's Service: %w", err)
	}
	w.Service = serviceName + "." + r.namespace
	for _, text := range s.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(text); err == nil {
			w.ServiceAddresses = append(w.ServiceAddresses, a)
		}
	}
	return nil
}

// why says why a pod does not run: what its container waits for, or the last warning about it.
func (r *run) why(ctx context.Context, p *corev1.Pod) string {
	var events corev1.EventList
	if err := r.List(ctx, &events, client.InNamespace(r.namespace)); err == nil {
		for i := len(events.Items) - 1; i >= 0; i-- {
			if e := events.Items[i]; e.InvolvedObject.Name == p.Name && e.Type == corev1.EventTypeWarning {
				return e.Message
			}
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Waiting != nil {
			return strings.TrimSpace(s.State.Waiting.Reason + " " + s.State.Waiting.Message)
		}
	}
	return "Its phase is " + string(p.Status.Phase) + "."
}

// ask makes every pod ask its questions, and notes the answers.
func (r *run) ask(ctx context.Context, w World) {
	slots := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	done := 0
	for _, p := range w.Pods {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := r.askFrom(ctx, p); err != nil {
				r.trouble("The pod on node %s could not be made to ask: %v", p.Node, err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			done++
			r.Say(fmt.Sprintf("%d of %d pods have asked.", done, len(w.Pods)))
		})
	}
	group.Wait()
}

func (r *run) askFrom(ctx context.Context, p Pod) error {
	var questions []probe.Question
	for _, t := range r.report.Tests {
		if t.From == p.Node {
			questions = append(questions, t.Question)
		}
	}
	in, err := json.Marshal(questions)
	if err != nil {
		return err
	}
	out, err := objects.Exec(ctx, r.Config, r.namespace, p.Name, container, in, "/usr/local/bin/causeway-agent", "probe", "ask")
	var answers []probe.Answer
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(out)).Decode(&answers)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	answered := 0
	for _, a := range answers {
		if a.ID >= 0 && a.ID < len(r.report.Tests) && r.report.Tests[a.ID].From == p.Node {
			r.report.Tests[a.ID].Problem = a.Problem
			answered++
		}
	}
	if answered != len(questions) {
		return fmt.Errorf("it answers %d of %d questions", answered, len(questions))
	}
	return nil
}

// end takes everything away, even where the check was interrupted.
func (r *run) end(ctx context.Context) error {
	if r.namespace == "" {
		return nil
	}
	if r.Keep {
		r.Say("The pods are still there; kubectl delete namespace " + r.namespace + " takes them away.")
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	r.Say("Taking the pods away.")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
	err := r.Delete(ctx, namespace)
	for err == nil {
		if err = r.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err == nil {
			err = objects.Sleep(ctx, pause)
		}
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("the namespace %s is not gone yet; see kubectl get namespace %s -o yaml: %w", r.namespace, r.namespace, err)
	}
	return nil
}

func addresses(ips []corev1.PodIP) []netip.Addr {
	var out []netip.Addr
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a)
		}
	}
	return out
}
