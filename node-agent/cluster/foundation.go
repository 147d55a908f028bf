package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/internal/infrastructure"
)

// Foundation knows the networks that the cluster stands on besides its nodes: the API server's addresses, as the API server
// says and as this agent is connected to them, and the Service ranges. It is safe for concurrent use.
type Foundation struct {
	api     client.WithWatch
	servers func() []netip.Addr
	changed func()

	mu        sync.Mutex
	connected map[netip.Addr]bool // all that this agent has been connected to
	objects   map[string][]infrastructure.Network
}

// NewFoundation returns a foundation that knows of connections only until Run. changed is told when it knows something else.
func NewFoundation(c *Connection, changed func()) *Foundation {
	return &Foundation{
		api: c.Client, servers: c.Dialer.Servers, changed: changed, connected: map[netip.Addr]bool{}, objects: map[string][]infrastructure.Network{},
	}
}

// Networks returns the networks, sorted.
func (f *Foundation) Networks() []infrastructure.Network {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.servers() {
		f.connected[a] = true
	}
	var out []infrastructure.Network
	for a := range f.connected {
		out = append(out, infrastructure.APIServer(a))
	}
	for _, networks := range f.objects {
		out = append(out, networks...)
	}
	slices.SortFunc(out, func(a, b infrastructure.Network) int { return a.Prefix.Compare(b.Prefix) })
	return slices.Compact(out)
}

// Run follows the API server's own EndpointSlices and the ServiceCIDRs until the context ends. An API server without
// ServiceCIDRs (before Kubernetes 1.33) is asked for them once.
func (f *Foundation) Run(ctx context.Context) {
	var followers sync.WaitGroup
	defer followers.Wait()
	own := []client.ListOption{client.InNamespace(metav1.NamespaceDefault), client.MatchingLabels{discoveryv1.LabelServiceName: "kubernetes"}}
	followers.Go(func() {
		f.follow(ctx, "slice ", &discoveryv1.EndpointSlice{}, func() client.ObjectList { return &discoveryv1.EndpointSliceList{} }, own...)
	})
	followers.Go(func() {
		if err := f.api.List(ctx, &networkingv1.ServiceCIDRList{}, client.Limit(1)); meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			return
		}
		f.follow(ctx, "range ", &networkingv1.ServiceCIDR{}, func() client.ObjectList { return &networkingv1.ServiceCIDRList{} })
	})
}

func (f *Foundation) follow(ctx context.Context, prefix string, kind runtime.Object, empty func() client.ObjectList, options ...client.ListOption) {
	with := func(raw metav1.ListOptions) []client.ListOption {
		return append(slices.Clone(options), &client.ListOptions{Raw: &raw})
	}
	set := func(o any) {
		if object, ok := o.(client.Object); ok {
			f.set(prefix+object.GetName(), networksOf(object))
		}
	}
	_, informer := toolscache.NewInformerWithOptions(toolscache.InformerOptions{
		ListerWatcher: toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				list := empty()
				return list, f.api.List(ctx, list, with(o)...)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return f.api.Watch(ctx, empty(), with(o)...)
			},
		}, f.api),
		ObjectType: kind,
		Handler: toolscache.ResourceEventHandlerFuncs{
			AddFunc: set, UpdateFunc: func(_, o any) { set(o) },
			DeleteFunc: func(o any) {
				if key, err := toolscache.DeletionHandlingObjectToName(o); err == nil {
					f.set(prefix+key.Name, nil)
				}
			},
		},
	})
	informer.RunWithContext(ctx)
}

func (f *Foundation) set(name string, networks []infrastructure.Network) {
	f.mu.Lock()
	same := slices.Equal(f.objects[name], networks)
	f.objects[name] = networks
	if len(networks) == 0 {
		delete(f.objects, name)
	}
	f.mu.Unlock()
	if !same {
		f.changed()
	}
}

// networksOf reads an EndpointSlice of the API server or a ServiceCIDR.
func networksOf(o client.Object) (out []infrastructure.Network) {
	switch o := o.(type) {
	case *discoveryv1.EndpointSlice:
		for _, e := range o.Endpoints {
			for _, a := range parseAddresses(e.Addresses) {
				out = append(out, infrastructure.APIServer(a))
			}
		}
	case *networkingv1.ServiceCIDR:
		for _, text := range o.Spec.CIDRs {
			if p, err := netip.ParsePrefix(text); err == nil {
				out = append(out, infrastructure.ServiceRange(p))
			}
		}
	default:
		panic(fmt.Sprintf("nothing else is followed, but %T came", o))
	}
	return out
}
