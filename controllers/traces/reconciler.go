package traces

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	// mostTraces run at a time; others wait.
	mostTraces = 4
	// waitsAgain is how soon a trace looks again whether it is known whose addresses are whose.
	waitsAgain = time.Second
	// phaseField is what the cache finds PathTraces by.
	phaseField = "status.phase"
)

// Addresses knows the records of pods by their addresses.
type Addresses interface {
	Synced() bool
	Record(a netip.Addr) (types.NamespacedName, bool)
}

// Reconciler makes traces. Its requests are the names of PathTraces.
type Reconciler struct {
	// Client reads from the cache: PathTraces, PathObservations, NodeNetworks and IPBlocks.
	Client client.Client
	// Live asks the API server.
	Live      client.Reader
	Addresses Addresses
	Now       func() time.Time
}

// +kubebuilder:rbac:groups=causeway.dev,resources=pathtraces,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=causeway.dev,resources=pathtraces/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=causeway.dev,resources=pathobservations,verbs=get;list;watch;create;update;patch;delete;deletecollection
// +kubebuilder:rbac:groups="",resources=services,verbs=get
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list

// Reconcile takes one trace a step further.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var trace v1alpha1.PathTrace
	if err := r.Client.Get(ctx, req.NamespacedName, &trace); err != nil {
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, r.forget(ctx, req.Namespace, req.Name)
		}
		return reconcile.Result{}, fmt.Errorf("read PathTrace %s: %w", req, err)
	}
	if !r.Addresses.Synced() {
		return reconcile.Result{RequeueAfter: waitsAgain}, nil
	}
	if trace.Status.Phase == v1alpha1.TraceFinished {
		return r.expire(ctx, &trace)
	}
	if trace.Status.Phase != v1alpha1.TraceRunning {
		return r.begin(ctx, &trace)
	}
	return r.proceed(ctx, &trace)
}

// begin lets a trace run, unless enough do, or others came before it. One that waits costs nothing: waiting wakes it.
func (r *Reconciler) begin(ctx context.Context, trace *v1alpha1.PathTrace) (reconcile.Result, error) {
	running, err := r.inPhase(ctx, v1alpha1.TraceRunning)
	if err != nil {
		return reconcile.Result{}, err
	}
	wait := len(running) >= mostTraces
	if !wait && trace.Status.Phase == "" {
		first, err := r.inPhase(ctx, v1alpha1.TracePending, client.Limit(1))
		if err != nil {
			return reconcile.Result{}, err
		}
		wait = len(first) > 0
	}
	if wait {
		status := trace.Status
		status.Phase = v1alpha1.TracePending
		return reconcile.Result{}, r.write(ctx, trace, status)
	}
	facts, err := r.resolve(ctx, trace)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := metav1.NewMicroTime(r.Now())
	status := v1alpha1.PathTraceStatus{Phase: v1alpha1.TraceRunning, StartedAt: &now, Source: facts.Probe.Source, Destination: destinationText(facts.Probe)}
	if facts.End != nil {
		status.Phase, status.FinishedAt, status.End = v1alpha1.TraceFinished, &now, facts.End
	}
	return reconcile.Result{}, r.write(ctx, trace, status)
}

// inPhase lists traces, which must not be changed.
func (r *Reconciler) inPhase(ctx context.Context, phase string, o ...client.ListOption) ([]v1alpha1.PathTrace, error) {
	var list v1alpha1.PathTraceList
	if err := r.Client.List(ctx, &list, append(o, client.MatchingFields{phaseField: phase}, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list PathTraces in the phase %s: %w", phase, err)
	}
	return list.Items, nil
}

// waiting are the traces to wake when any PathTrace has changed or gone: the oldest of those that wait, as many as may run now.
func (r *Reconciler) waiting(ctx context.Context, _ client.Object) []reconcile.Request {
	running, err := r.inPhase(ctx, v1alpha1.TraceRunning)
	if err != nil || len(running) >= mostTraces {
		return nil // the cache has an error only while the manager stops
	}
	pending, err := r.inPhase(ctx, v1alpha1.TracePending)
	if err != nil {
		return nil
	}
	slices.SortFunc(pending, func(a, b v1alpha1.PathTrace) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
	})
	var out []reconcile.Request
	for _, p := range pending[:min(len(pending), mostTraces-len(running))] {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&p)})
	}
	return out
}

func destinationText(p v1alpha1.ProbeSpec) string {
	a, err := netip.ParseAddr(p.Destination)
	if err != nil || p.Port == 0 {
		return p.Destination
	}
	return netip.AddrPortFrom(a, uint16(p.Port)).String()
}

// proceed takes a trace that runs to its next step.
func (r *Reconciler) proceed(ctx context.Context, trace *v1alpha1.PathTrace) (reconcile.Result, error) {
	facts, err := r.resolve(ctx, trace)
	if err != nil {
		return reconcile.Result{}, err
	}
	have, err := r.observations(ctx, trace)
	if err != nil {
		return reconcile.Result{}, err
	}
	if facts.End != nil { // what it is about went away
		return reconcile.Result{}, r.finish(ctx, trace, facts, have, nil)
	}
	a := Next(facts, have, r.Now().Sub(trace.Status.StartedAt.Time))
	if a.Finish {
		return reconcile.Result{}, r.finish(ctx, trace, facts, have, a.Silent)
	}
	for _, node := range a.Ask {
		if err := r.ask(ctx, trace, facts, node); err != nil {
			return reconcile.Result{}, err
		}
	}
	for node, step := range a.Steps {
		next := have[node].DeepCopy()
		next.Spec.Step = step
		if source := have[facts.Source.Node]; step == v1alpha1.StepReport && source != nil {
			next.Spec.Flow = source.Status.Flow
		}
		if err := r.Client.Patch(ctx, next, client.MergeFrom(have[node])); client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("have node %s take the step %s: %w", node, step, err)
		}
	}
	return reconcile.Result{RequeueAfter: a.Again}, nil
}

// observations are those of a trace, by node.
func (r *Reconciler) observations(ctx context.Context, trace *v1alpha1.PathTrace) (map[string]*v1alpha1.PathObservation, error) {
	var list v1alpha1.PathObservationList
	if err := r.Client.List(ctx, &list, client.InNamespace(trace.Namespace), client.MatchingLabels{v1alpha1.LabelPathTrace: string(trace.UID)}); err != nil {
		return nil, fmt.Errorf("list PathObservations: %w", err)
	}
	out := map[string]*v1alpha1.PathObservation{}
	for i := range list.Items {
		out[list.Items[i].Spec.Node] = &list.Items[i]
	}
	return out, nil
}

// ask makes the observation of a node. Its name is made from the trace's UID and the node, so that it exists once.
func (r *Reconciler) ask(ctx context.Context, trace *v1alpha1.PathTrace, facts *Facts, node string) error {
	h := fnv.New32a()
	h.Write([]byte(node)) //nolint:errcheck // hash.Hash says that it returns no error
	o := &v1alpha1.PathObservation{
		ObjectMeta: metav1.ObjectMeta{Namespace: trace.Namespace, Name: fmt.Sprintf("%s-%08x", trace.UID, h.Sum32()),
			Labels:          map[string]string{v1alpha1.LabelPathTrace: string(trace.UID)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(trace, v1alpha1.GroupVersion.WithKind("PathTrace"))}},
		Spec: v1alpha1.PathObservationSpec{Trace: trace.Name, Node: node, Probe: facts.Probe, Step: v1alpha1.StepWatch},
	}
	if node == facts.Source.Node {
		o.Spec.Pod = trace.Spec.SourcePod
	}
	if err := r.Client.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("ask node %s to look for the packet: %w", node, err)
	}
	return nil
}

func (r *Reconciler) finish(ctx context.Context, trace *v1alpha1.PathTrace, facts *Facts, have map[string]*v1alpha1.PathObservation, silent []string) error {
	story := Tell(facts, have, silent)
	now := metav1.NewMicroTime(r.Now())
	status := *trace.Status.DeepCopy()
	status.Phase, status.FinishedAt, status.End = v1alpha1.TraceFinished, &now, &story.End
	status.Hops, status.Nodes, status.SilentNodes = story.Hops, Participants(facts, have), silent
	return r.write(ctx, trace, status)
}

func (r *Reconciler) write(ctx context.Context, trace *v1alpha1.PathTrace, status v1alpha1.PathTraceStatus) error {
	if equality.Semantic.DeepEqual(trace.Status, status) {
		return nil
	}
	after := trace.DeepCopy()
	after.Status = status
	err := r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(trace, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // the next event brings us back
		return fmt.Errorf("write the status of PathTrace %s/%s: %w", trace.Namespace, trace.Name, err)
	}
	return nil
}

// expire deletes what a finished trace does not need any more, and after its time the trace.
func (r *Reconciler) expire(ctx context.Context, trace *v1alpha1.PathTrace) (reconcile.Result, error) {
	if err := r.forget(ctx, trace.Namespace, trace.Name); err != nil {
		return reconcile.Result{}, err
	}
	left := time.Duration(trace.Spec.TTLSecondsAfterFinished) * time.Second
	if trace.Status.FinishedAt != nil {
		left -= r.Now().Sub(trace.Status.FinishedAt.Time)
	}
	if left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	err := r.Client.Delete(ctx, trace, client.Preconditions{UID: &trace.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return reconcile.Result{}, fmt.Errorf("delete PathTrace %s/%s: %w", trace.Namespace, trace.Name, err)
	}
	return reconcile.Result{}, nil
}

// forget deletes the observations of a trace that has finished or is gone.
func (r *Reconciler) forget(ctx context.Context, namespace, name string) error {
	var list v1alpha1.PathObservationList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("list PathObservations: %w", err)
	}
	for i := range list.Items {
		if o := &list.Items[i]; o.Spec.Trace == name {
			if err := client.IgnoreNotFound(r.Client.Delete(ctx, o)); err != nil {
				return fmt.Errorf("delete PathObservation %s/%s: %w", o.Namespace, o.Name, err)
			}
		}
	}
	return nil
}

// SetupWithManager says what wakes the reconciler.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr manager.Manager) error {
	phase := func(o client.Object) []string { return []string{o.(*v1alpha1.PathTrace).Status.Phase} }
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.PathTrace{}, phaseField, phase); err != nil {
		return fmt.Errorf("let the cache find PathTraces by their phase: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).Named("traces").For(&v1alpha1.PathTrace{}).
		Watches(&v1alpha1.PathTrace{}, handler.EnqueueRequestsFromMapFunc(r.waiting)).Owns(&v1alpha1.PathObservation{}).Complete(r)
}
