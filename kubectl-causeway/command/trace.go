package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/picture"
	"github.com/causeway-net/causeway/kubectl-causeway/route"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
)

// A trace takes some seconds; it may wait for others before.
const (
	traceWithin = 45 * time.Second
	traceLook   = 200 * time.Millisecond
	traceKept   = 60 // seconds that the object stays if this command is killed before it deletes it
)

const traceLong = `Send a packet from a pod, and show where it goes and where it ends.

FROM is a pod. TO is a pod, svc/NAME for a Service (svc/NAMESPACE/NAME in another namespace), or an IP address; with :PORT
(an IPv6 address in brackets) a TCP connection is tried, else an echo request is sent. The agents of the nodes on the way look for
this one packet: each line is an interface that it passed. You need the right to create PathTraces in the pod's namespace.

With --observe nothing is sent: the first packet is followed that the pod sends by itself to TO, within ten seconds. One to a Service
is followed to the endpoint that it is forwarded to; where the Service has one port, it need not be named.

The exit code is 0 if the pod got an answer, 1 if not.`

func (a *app) trace() *cobra.Command {
	format := output{more: []cobra.Completion{"svg"}}
	var ask route.Ask
	var dropOnly bool
	c := &cobra.Command{
		Use: "trace FROM TO[:PORT]", Short: "Follow a packet from a pod, and show where it ends", Long: traceLong, Args: cobra.ExactArgs(2),
		Example: "  kubectl causeway trace shop/web shop/db:5432\n  kubectl causeway trace web svc/db:5432\n  kubectl causeway trace web 1.1.1.1 --size 1500\n  kubectl causeway trace web db -o svg > trace.svg",
		RunE: func(c *cobra.Command, args []string) error {
			if err := format.valid(); err != nil {
				return err
			}
			namespace, _, err := a.flags.ToRawKubeConfigLoader().Namespace()
			if err != nil {
				return fmt.Errorf("read the kubeconfig: %w", err)
			}
			trace, err := ask.Object(args[0], args[1], namespace)
			if err != nil {
				return err
			}
			trace.Spec.TTLSecondsAfterFinished = traceKept
			connection, err := a.connect()
			if err != nil {
				return err
			}
			if ask.Observe {
				if err := choosePort(c.Context(), connection, trace, ask.Protocol); err != nil {
					return err
				}
			}
			if err := runTrace(c.Context(), connection, trace, nobody); err != nil {
				return err
			}
			if format.format == "svg" {
				err = write(a.o.Streams.Out, picture.Trace(trace), nil)
			} else {
				err = format.print(a.o.Streams.Out, trace, func(p *text.Page) { route.Print(p, trace, dropOnly, format.wide()) })
			}
			if err != nil {
				return err
			}
			if trace.Status.End.Result != v1alpha1.PathAnswered {
				return errTrouble
			}
			return nil
		},
	}
	format.add(c)
	c.Flags().StringVar(&ask.Protocol, "protocol", "", "icmp, tcp or udp (default: tcp with a port, icmp without)")
	c.Flags().StringVar(&ask.Family, "family", "", "IPv4 or IPv6 (default: the first one that both ends have)")
	c.Flags().Int32Var(&ask.Size, "size", 0, "length of the IP packet, sent with \"don't fragment\" (icmp and udp)")
	c.Flags().BoolVar(&ask.Observe, "observe", false, "send nothing: follow what the pod sends by itself to a pod, Service or address")
	c.Flags().BoolVar(&dropOnly, "drop-only", false, "show nothing but where and why the packet ends")
	return c
}

// choosePort gives a trace to a Service without a port the Service's only one.
func choosePort(ctx context.Context, c client.Reader, trace *v1alpha1.PathTrace, protocol string) error {
	to := trace.Spec.Destination
	if to.Service == "" || trace.Spec.Port > 0 {
		return nil
	}
	var service corev1.Service
	if err := c.Get(ctx, client.ObjectKey{Namespace: to.ServiceNamespace, Name: to.Service}, &service); err != nil {
		return fmt.Errorf("find the port of the Service (name it by :PORT): %w", err)
	}
	port, err := route.OnlyPort(service.Spec.Ports, protocol)
	if err != nil {
		return fmt.Errorf("service %s/%s: %w", to.ServiceNamespace, to.Service, err)
	}
	trace.Spec.Port, trace.Spec.Protocol = port.Port, v1alpha1.TraceProtocol(port.Protocol)
	return nil
}

// follower looks on while a trace runs.
type follower struct {
	// seen is called each time that the trace has changed.
	seen func(*v1alpha1.PathTrace)
	// early returns the trace as far as nodes have reported it, or nil where there is nothing new.
	early func(context.Context, *v1alpha1.PathTrace) (*v1alpha1.PathTrace, error)
}

// runTrace makes the object, shows it to the follower until it has finished, and deletes it.
func runTrace(ctx context.Context, c *objects.Connection, trace *v1alpha1.PathTrace, f follower) (err error) {
	if err := c.Create(ctx, trace); err != nil {
		return fmt.Errorf("ask for a trace: %w", err)
	}
	defer func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if failed := client.IgnoreNotFound(c.Delete(within, trace.DeepCopy())); failed != nil {
			err = errors.Join(err, fmt.Errorf("delete PathTrace %s: %w", trace.Name, failed))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, traceWithin)
	defer cancel()
	f.seen(trace)
	version := trace.ResourceVersion
	for trace.Status.End == nil {
		select {
		case <-time.After(traceLook):
		case <-ctx.Done():
			return fmt.Errorf("the trace has not finished after %s (phase %q): is causeway-controller running?", traceWithin, trace.Status.Phase)
		}
		if err := c.Get(ctx, client.ObjectKeyFromObject(trace), trace); err != nil && ctx.Err() == nil {
			if apierrors.IsForbidden(err) {
				return fmt.Errorf("read the trace: %w", err)
			}
			return fmt.Errorf("wait for the trace: %w", err)
		}
		if trace.ResourceVersion != version {
			f.seen(trace)
			version = trace.ResourceVersion
		}
		f.lookEarly(ctx, trace)
	}
	return nil
}

// lookEarly shows what nodes have reported. What can't be read now is shown at the end, and one who may not read it is not asked again.
func (f *follower) lookEarly(ctx context.Context, trace *v1alpha1.PathTrace) {
	if f.early == nil || trace.Status.End != nil {
		return
	}
	switch now, err := f.early(ctx, trace); {
	case apierrors.IsForbidden(err):
		f.early = nil
	case err == nil && now != nil:
		f.seen(now)
	}
}

// nobody looks at a trace that has not finished.
var nobody = follower{seen: func(*v1alpha1.PathTrace) {}}
