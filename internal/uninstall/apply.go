package uninstall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Options set an uninstallation.
type Options struct {
	// Force goes on while pods of the network run.
	Force bool
	// KeepDefinitions leaves the pools, and with them what people have written.
	KeepDefinitions bool
	// Timeout is how long it may take.
	Timeout time.Duration
	// Cleaner says how nodes are cleaned.
	Cleaner Cleaner
	// Say takes a sentence at each step, for whoever waits.
	Say func(sentence string)
}

// pause is the time between two looks at the cluster.
const pause = time.Second

// AddFlags adds the flags that programs have in common.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.Force, "force", false, "go on while pods of the network run; they lose it")
	f.BoolVar(&o.KeepDefinitions, "keep-crds", false, "leave IPPools and BGP settings, for the next installation")
	f.DurationVar(&o.Timeout, "timeout", 10*time.Minute, "how long it may take; a second run goes on from there")
	f.StringVar(&o.Cleaner.Image, "image", "", "image that cleans the nodes (default: the agents')")
	f.StringSliceVar(&o.Cleaner.PullSecrets, "image-pull-secret", nil, "Secret of causeway-system to pull the image with")
	f.StringVar(&o.Cleaner.PluginFolder, "cni-bin-dir", "/opt/cni/bin", "container runtime's folder of CNI plugins on the nodes")
	f.StringVar(&o.Cleaner.ConfFolder, "cni-conf-dir", "/etc/cni/net.d", "container runtime's folder of CNI configurations on the nodes")
}

type uninstaller struct {
	o       Options
	api     client.Client
	cleaned bool
	// home is the namespace for the pods that clean nodes; force says that pods of the network may be cut off.
	home  string
	force bool
}

// ErrPodsRun says that pods of the network still run. Nothing has been changed.
var ErrPodsRun = errors.New("nothing was uninstalled")

// Run takes one step after the other until nothing is left, and says each in the log.
func Run(ctx context.Context, config *rest.Config, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	api, err := Connect(config)
	if err != nil {
		return err
	}
	if o.Cleaner.Image == "" {
		if o.Cleaner.Image, err = agentsImage(ctx, api); err != nil {
			return err
		}
	}
	if o.Cleaner.Image == "" {
		return errors.New("there are no agents any more, so the image that cleans the nodes is not known: set --image to Causeway's image")
	}
	u := &uninstaller{o: o, api: api}
	said := ""
	for {
		state, err := u.observe(ctx)
		if err != nil {
			return u.explain(ctx, said, err)
		}
		step, sentence := Next(state, u.force)
		if sentence != said {
			said = sentence
			o.Say(sentence)
		}
		switch step {
		case Refuse:
			return fmt.Errorf("%w: %s", ErrPodsRun, sentence)
		case NothingIsLeft:
			return nil
		case AwaitEnd, AwaitCleaning:
		default:
			if step == ReleaseObjects {
				u.cleaned = true
			}
			if err := u.take(ctx, step); err != nil {
				return u.explain(ctx, said, fmt.Errorf("%s: %w", step, err))
			}
		}
		if step == FinishCleaning {
			u.cleaned = true
		}
		select {
		case <-ctx.Done():
			return u.explain(ctx, said, nil)
		case <-time.After(pause):
		}
	}
}

// explain says where it has stopped if the time has run out.
func (u *uninstaller) explain(ctx context.Context, said string, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the time of %s has run out, and this was the last thing said: %s A second run goes on from here", u.o.Timeout, said)
	}
	return err
}

func (u *uninstaller) take(ctx context.Context, step Step) error {
	workload := func(o client.Object, namespace, name string) error {
		o.SetNamespace(namespace)
		o.SetName(name)
		return client.IgnoreNotFound(u.api.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	}
	switch step {
	case StopController:
		return workload(&appsv1.Deployment{}, v1alpha1.SystemNamespace, controllerName)
	case StopAgents:
		return workload(&appsv1.DaemonSet{}, v1alpha1.SystemNamespace, agentName)
	case StartCleaning:
		err := u.api.Create(ctx, u.o.Cleaner.daemonSet(u.home))
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	case FinishCleaning:
		return workload(&appsv1.DaemonSet{}, u.home, cleanupName)
	case ReleaseObjects:
		return u.release(ctx)
	}
	return fmt.Errorf("%q is no step", step)
}

// release deletes our objects and takes their finalizers off: whoever they waited for has stopped, and no node uses them.
func (u *uninstaller) release(ctx context.Context) error {
	for _, list := range own() {
		if err := u.api.List(ctx, list); missing(err) {
			continue
		} else if err != nil {
			return err
		}
		err := meta.EachListItem(list, func(o runtime.Object) error { return u.drop(ctx, o.(client.Object)) })
		if err != nil {
			return err
		}
	}
	var pools v1alpha1.IPPoolList
	if err := u.api.List(ctx, &pools); err != nil && !missing(err) {
		return err
	}
	for i := range pools.Items {
		pool := &pools.Items[i]
		if !u.o.KeepDefinitions {
			if err := u.drop(ctx, pool); err != nil {
				return err
			}
		} else if err := u.unpin(ctx, pool); err != nil {
			return err
		}
	}
	leases, err := u.leases(ctx)
	if err != nil {
		return err
	}
	for i := range leases {
		if err := u.drop(ctx, &leases[i]); err != nil {
			return err
		}
	}
	return nil
}

func (u *uninstaller) drop(ctx context.Context, o client.Object) error {
	if o.GetDeletionTimestamp() == nil {
		err := u.api.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %T %s: %w", o, o.GetName(), err)
		}
	}
	return u.unpin(ctx, o)
}

// unpin takes our finalizer off, and nobody else's.
func (u *uninstaller) unpin(ctx context.Context, o client.Object) error {
	var others []string
	for _, f := range o.GetFinalizers() {
		if f != v1alpha1.FinalizerPool {
			others = append(others, f)
		}
	}
	if len(others) == len(o.GetFinalizers()) {
		return nil
	}
	before := o.DeepCopyObject().(client.Object)
	o.SetFinalizers(others)
	err := u.api.Patch(ctx, o, client.MergeFrom(before))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release %T %s: %w", o, o.GetName(), err)
	}
	return nil
}
