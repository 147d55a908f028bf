package cluster

import (
	"fmt"
	"net/http"
	"sync/atomic"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// newScheme has just the kinds that the agent uses: each costs memory on every node.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the Causeway API: %w", err)
	}
	core := schema.GroupVersion{Version: "v1"}
	scheme.AddKnownTypes(core, &corev1.Node{}, &corev1.NodeList{}, &corev1.Pod{}, &corev1.PodList{}, &corev1.Namespace{}, &corev1.NamespaceList{},
		&corev1.Secret{}, &corev1.SecretList{}, &corev1.Service{}, &corev1.ServiceList{}, &corev1.Event{}, &corev1.EventList{})
	metav1.AddToGroupVersion(scheme, core)
	scheme.AddKnownTypes(coordinationv1.SchemeGroupVersion, &coordinationv1.Lease{}, &coordinationv1.LeaseList{})
	metav1.AddToGroupVersion(scheme, coordinationv1.SchemeGroupVersion)
	scheme.AddKnownTypes(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	metav1.AddToGroupVersion(scheme, discoveryv1.SchemeGroupVersion)
	scheme.AddKnownTypes(networkingv1.SchemeGroupVersion, &networkingv1.ServiceCIDR{}, &networkingv1.ServiceCIDRList{})
	metav1.AddToGroupVersion(scheme, networkingv1.SchemeGroupVersion)
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the metadata kinds: %w", err)
	}
	return scheme, nil
}

// newMapper knows the same kinds, so that the agent starts without asking the API server what it serves.
func newMapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"IPPool", "IPReservation", "IPBlock", "NodeNetwork", "BlockClaim", "BGPNodeState", "BGPPeer", "BGPConfiguration", "BGPFilter"} {
		m.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	m.Add(v1alpha1.GroupVersion.WithKind("WorkloadEndpoint"), meta.RESTScopeNamespace)
	m.Add(v1alpha1.GroupVersion.WithKind("PathObservation"), meta.RESTScopeNamespace)
	m.Add(v1alpha1.GroupVersion.WithKind("StickyAddress"), meta.RESTScopeNamespace)
	core := schema.GroupVersion{Version: "v1"}
	m.Add(core.WithKind("Node"), meta.RESTScopeRoot)
	m.Add(core.WithKind("Namespace"), meta.RESTScopeRoot)
	for _, kind := range []string{"Pod", "Secret", "Service", "Event"} {
		m.Add(core.WithKind(kind), meta.RESTScopeNamespace)
	}
	m.Add(core.WithKind("SecretList"), meta.RESTScopeNamespace) // a watch asks for the scope by the kind of the list
	m.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), meta.RESTScopeNamespace)
	m.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), meta.RESTScopeNamespace)
	m.Add(networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"), meta.RESTScopeRoot)
	m.Add(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "DaemonSet"}, meta.RESTScopeNamespace)
	return m
}

// Connection is the agent's way to the API: a client that asks the server, and a cache that watches.
type Connection struct {
	// Client asks the API server itself.
	Client client.WithWatch
	// Cache watches what is asked of it.
	Cache cache.Cache
	// REST speaks to our API group without decoding answers.
	REST rest.Interface
	// Dialer makes all connections to the API server.
	Dialer *Dialer

	started atomic.Bool
}

// Started says that the agent knows what there is: from now on its watches that fail try again as slowly as those of others.
func (c *Connection) Started() { c.started.Store(true) }

// Connect prepares the connection of a node's agent. It does not ask the API server anything yet.
func Connect(config *rest.Config, node string) (*Connection, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // one write for each pod; the API server's own fairness decides
	config.UserAgent = "causeway-agent"
	dialer := newDialer()
	config.Dial = dialer.DialContext
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	mapper := newMapper()
	direct, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("make an API client: %w", err)
	}
	group := rest.CopyConfig(config)
	group.APIPath, group.GroupVersion = "/apis", &v1alpha1.GroupVersion
	group.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	raw, err := rest.RESTClientFor(group)
	if err != nil {
		return nil, fmt.Errorf("make an API client: %w", err)
	}
	c := &Connection{Client: direct, REST: raw, Dialer: dialer}
	watching := rest.CopyConfig(config)
	watching.Wrap(func(next http.RoundTripper) http.RoundTripper { return newQueue(next, &c.started) })
	c.Cache, err = cache.New(watching, cache.Options{
		Scheme: scheme, Mapper: mapper, DefaultTransform: slim(node),
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.WorkloadEndpoint{}: {Field: fields.OneTermEqualSelector("spec.node", node)},
			&v1alpha1.PathObservation{}:  {Field: fields.OneTermEqualSelector("spec.node", node)},
			&corev1.Node{}:               {Field: fields.OneTermEqualSelector("metadata.name", node)},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make an API cache: %w", err)
	}
	return c, nil
}
