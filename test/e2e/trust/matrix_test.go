package trust_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// row is what an agent's token may do with one kind: of its own node, and of another's. Letters are verbs: g get, l list,
// w watch, c create, u update, p patch, s the status, d delete, D delete all. Whatever is not named is refused.
type row struct {
	namespace  string
	kind       schema.GroupVersionKind
	own, other string
}

func ours(kind, own, other string) row {
	return row{kind: v1alpha1.GroupVersion.WithKind(kind), own: own, other: other}
}

func core(kind, namespace, own, other string) row {
	return row{kind: corev1.SchemeGroupVersion.WithKind(kind), namespace: namespace, own: own, other: other}
}

// matrix is every verb on every kind. Reading is not confined to the own node by the API server; writing is.
var matrix = []row{
	{kind: v1alpha1.GroupVersion.WithKind("WorkloadEndpoint"), namespace: "default", own: "glwcd", other: "glw"},
	{kind: v1alpha1.GroupVersion.WithKind("PathObservation"), namespace: "default", own: "glws", other: "glw"},
	{kind: v1alpha1.GroupVersion.WithKind("PathTrace"), namespace: "default"},
	{kind: v1alpha1.GroupVersion.WithKind("StickyAddress"), namespace: "default", own: "glw", other: "glw"},
	ours("NodeNetwork", "glws", "glw"),
	ours("BlockClaim", "glwcups", "glw"),
	ours("BGPNodeState", "glwcups", "glw"),
	ours("IPPool", "glw", "glw"), ours("IPReservation", "glw", "glw"), ours("IPBlock", "glw", "glw"),
	core("Service", "default", "glw", "glw"),
	{kind: schema.GroupVersionKind{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"}, namespace: "default", own: "glw", other: "glw"},
	ours("BGPPeer", "glw", "glw"), ours("BGPConfiguration", "glw", "glw"), ours("BGPFilter", "glw", "glw"),
	{kind: schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}, namespace: v1alpha1.SystemNamespace, own: "gcu", other: "g"},
	core("Node", "", "glw", "glw"), core("Namespace", "", "glw", "glw"),
	core("Pod", "default", "g", "g"), core("ServiceAccount", v1alpha1.SystemNamespace, "", ""),
	core("Secret", v1alpha1.BGPNamespace, "gw", "gw"), core("Secret", v1alpha1.SystemNamespace, "", ""),
	core("ConfigMap", v1alpha1.SystemNamespace, "", ""),
	{kind: schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingAdmissionPolicy"}},
	{kind: schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}},
	{kind: schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}},
}

const verbs = "glwcupsdD"

// TestEveryVerbOnEveryKind asks for the whole matrix with the bound token of node own. An answer that the token has no right, or the
// sentence of a policy, is a refusal; any other answer means that the API server let the request through to the object.
func TestEveryVerbOnEveryKind(t *testing.T) {
	w := begin(t)
	for _, r := range matrix {
		for node, allowed := range map[string]string{"own": r.own, "other": r.other} {
			for _, verb := range verbs {
				name := fmt.Sprintf("%s %s %c of %s", r.kind.Kind, r.namespace, verb, node)
				err := w.ask(t, r, verb, node)
				switch want := strings.ContainsRune(allowed, verb); {
				case want && refused(err):
					t.Errorf("%s: it is needed, but refused: %v", name, err)
				case !want && !refused(err):
					t.Errorf("%s: it should be refused, but: %v", name, err)
				}
			}
		}
	}
}

// refused says that the API server's rules forbid a request, not that there is no such object or that it is not valid.
func refused(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "is forbidden") || strings.Contains(err.Error(), "denied request"))
}

// ask makes one request. Writes are dry runs.
func (w *world) ask(t *testing.T, r row, verb rune, node string) error {
	t.Helper()
	ctx := t.Context()
	o := w.sample(r, node)
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(r.kind.GroupVersion().WithKind(r.kind.Kind + "List"))
	in := client.InNamespace(r.namespace)
	patch := client.RawPatch(merge, []byte(`{"metadata":{"labels":{"a":"b"}}}`))
	w.make(t, r, verb, node)
	switch verb {
	case 'g':
		return w.own.Get(ctx, client.ObjectKeyFromObject(o), o)
	case 'l':
		return w.own.List(ctx, list, in)
	case 'w':
		watch, err := w.own.Watch(ctx, list, in)
		if err == nil {
			watch.Stop()
		}
		return err
	case 'c':
		return w.own.Create(ctx, o, client.DryRunAll)
	case 'u':
		return w.update(t, o)
	case 'p':
		return w.own.Patch(ctx, o, patch, client.DryRunAll)
	case 's':
		return w.own.Status().Patch(ctx, o, client.RawPatch(merge, []byte(`{"status":{"conditions":[]}}`)), client.DryRunAll)
	case 'd':
		return w.own.Delete(ctx, o, client.DryRunAll)
	}
	return w.own.DeleteAllOf(ctx, o, in, client.DryRunAll)
}

// update writes an object back as it is.
func (w *world) update(t *testing.T, o *unstructured.Unstructured) error {
	t.Helper()
	fresh := o.DeepCopy()
	if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(o), fresh); err != nil {
		fresh = o
		fresh.SetResourceVersion("1")
	}
	return w.own.Update(t.Context(), fresh, client.DryRunAll)
}

// make puts the object there that a request is about, or takes it away before it is created, where a policy looks at it. For the
// other kinds the rights alone decide.
func (w *world) make(t *testing.T, r row, verb rune, node string) {
	t.Helper()
	maker := client.Client(w.Client)
	switch r.kind.Kind {
	case "WorkloadEndpoint":
		maker = w.agents[node]
	case "PathObservation":
		maker = w.controller
	case "NodeNetwork", "BlockClaim", "BGPNodeState", "Lease":
	default:
		return
	}
	o := w.sample(r, node)
	if verb == 'c' {
		must(t, client.IgnoreNotFound(w.Client.Delete(t.Context(), o)))
	} else {
		must(t, client.IgnoreAlreadyExists(maker.Create(t.Context(), o)))
	}
}

// sample is an object of a kind that belongs to a node.
func (*world) sample(r row, node string) *unstructured.Unstructured {
	var typed client.Object
	switch r.kind.Kind {
	case "WorkloadEndpoint":
		typed = endpoint(node)
	case "PathObservation":
		typed = observation(node)
	case "BlockClaim":
		typed = claim(node)
	case "Lease":
		typed = lease(node)
	case "IPBlock":
		typed = block("10.250.0.0/26", "any")
	}
	o := &unstructured.Unstructured{}
	if typed != nil {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
		if err != nil {
			panic(err) // a sample of ours is wrong
		}
		o.Object = fields
	} else {
		o.SetName(node)
		o.SetNamespace(r.namespace)
	}
	o.SetGroupVersionKind(r.kind)
	return o
}

func observation(node string) *v1alpha1.PathObservation {
	return &v1alpha1.PathObservation{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "trace-" + node},
		Spec: v1alpha1.PathObservationSpec{Trace: "trace", Node: node, Step: v1alpha1.StepWatch,
			Probe: v1alpha1.ProbeSpec{Source: "10.0.0.1", Destination: "10.0.0.2", Protocol: v1alpha1.TraceICMP, ID: 61000}},
	}
}

// TestOnlyTheControllerAsksAgentsToSend: a PathObservation makes a root agent send a packet, so no person writes one.
func TestOnlyTheControllerAsksAgentsToSend(t *testing.T) {
	w := begin(t)
	ctx := t.Context()
	check(t, w.Client.Create(ctx, observation("own")), "Only the controller writes PathObservations")
	create(ctx, t, w.controller, observation("own"))
	step := client.RawPatch(merge, []byte(`{"spec":{"step":"Send","pod":"a"}}`))
	check(t, w.Client.Patch(ctx, observation("own"), step), "Only the controller writes PathObservations")
	check(t, w.controller.Patch(ctx, observation("own"), step), "")
	check(t, w.controller.Patch(ctx, observation("own"), client.RawPatch(merge, []byte(`{"spec":{"probe":{"destination":"10.0.0.3"}}}`))), "only the step can change")
	live := observation("own")
	live.Name, live.Spec.Probe.Observe = "live", true
	check(t, w.controller.Create(ctx, live), "those that are looked for have any")
	endpoints := observation("own")
	endpoints.Name, endpoints.Spec.Probe.Endpoints = "endpoints", []v1alpha1.ProbeEndpoint{{Address: "10.0.0.4", Port: 80}}
	check(t, w.controller.Create(ctx, endpoints), "endpoints are for live packets of TCP and UDP")
	for name, change := range map[string]func(s *v1alpha1.PathTraceSpec){
		"name one of pod, service and address": func(s *v1alpha1.PathTraceSpec) { s.Destination.Address = "10.0.0.1" },
		"TCP and UDP need a port":              func(s *v1alpha1.PathTraceSpec) { s.Protocol = v1alpha1.TraceUDP },
		"observe sends nothing":                func(s *v1alpha1.PathTraceSpec) { s.Observe, s.Size = true, 1400 },
		"a Service forwards TCP and UDP only": func(s *v1alpha1.PathTraceSpec) {
			s.Observe, s.Destination = true, v1alpha1.PathDestination{Service: "s"}
		},
		"size is for ICMP and UDP": func(s *v1alpha1.PathTraceSpec) { s.Protocol, s.Port, s.Size = v1alpha1.TraceTCP, 80, 1400 },
	} {
		trace := &v1alpha1.PathTrace{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "t"},
			Spec: v1alpha1.PathTraceSpec{SourcePod: "a", Destination: v1alpha1.PathDestination{Pod: "b"}, Protocol: v1alpha1.TraceICMP}}
		change(&trace.Spec)
		check(t, w.Client.Create(ctx, trace), name)
	}
}
