package traces

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// resolver finds the facts of one trace.
type resolver struct {
	*Reconciler
	trace *v1alpha1.PathTrace
	facts *Facts
}

// resolve finds the facts. An error is one of the API; what is wrong with the trace is the facts' End.
func (r *Reconciler) resolve(ctx context.Context, trace *v1alpha1.PathTrace) (*Facts, error) {
	s := &resolver{r, trace, &Facts{Nodes: map[netip.Addr]string{}, Sessions: map[string][]string{}}}
	for _, step := range []func(context.Context) error{s.nodes, s.places, s.block, s.sessions} {
		if err := step(ctx); err != nil {
			return nil, err
		}
		if s.facts.End != nil {
			break
		}
	}
	return s.facts, nil
}

func (s *resolver) stop(end v1alpha1.PathEnd) error {
	s.facts.End = &end
	return nil
}

func (s *resolver) nodes(ctx context.Context) error {
	var list v1alpha1.NodeNetworkList
	if err := s.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list NodeNetworks: %w", err)
	}
	for i := range list.Items {
		for _, a := range list.Items[i].Status.Addresses {
			if address, err := netip.ParseAddr(a.Address); err == nil {
				s.facts.Nodes[address] = list.Items[i].Name
			}
		}
	}
	return nil
}

// places finds source and destination, and the family that both have.
func (s *resolver) places(ctx context.Context) error {
	spec := s.trace.Spec
	from, err := s.pod(ctx, spec.SourcePod)
	if err != nil {
		return err
	}
	if from == nil {
		return s.stop(unknown("", causePod, "Pod %s/%s has no address of Causeway: it does not exist, has not started yet, or uses the network of its node.", s.trace.Namespace, spec.SourcePod))
	}
	var to []netip.Addr
	switch d := spec.Destination; {
	case d.Pod != "":
		record, err := s.pod(ctx, d.Pod)
		if err != nil {
			return err
		}
		if record == nil {
			return s.stop(unknown("", causePod, "Pod %s/%s has no address of Causeway: it does not exist, has not started yet, or uses the network of its node.", s.trace.Namespace, d.Pod))
		}
		to = addressesOf(record)
	case d.Service != "":
		if to, err = s.service(ctx); err != nil || s.facts.End != nil {
			return err
		}
	default:
		if a, err := netip.ParseAddr(d.Address); err == nil {
			to = []netip.Addr{a}
		}
	}
	source, destination, ok := pair(addressesOf(from), to, spec.Family)
	if !ok {
		return s.stop(unknown("", causePod, "Source %v and destination %v have no address of the same family.", addressesOf(from), to))
	}
	s.facts.Source = placeOf(from, source)
	if s.facts.Destination, err = s.placeAt(ctx, destination); err != nil {
		return err
	}
	s.facts.Probe = v1alpha1.ProbeSpec{Source: source.String(), Destination: destination.String(), Protocol: spec.Protocol, ID: probeID(s.trace.UID), Port: spec.Port, Size: spec.Size}
	if spec.Observe {
		s.facts.Probe.Observe, s.facts.Probe.ID = true, 0
	}
	if s.facts.Service == "" {
		return nil
	}
	if err := s.backends(ctx, destination); err != nil || s.facts.End != nil {
		return err
	}
	for _, b := range s.facts.Backends {
		if spec.Observe {
			s.facts.Probe.Endpoints = append(s.facts.Probe.Endpoints, v1alpha1.ProbeEndpoint{Address: b.Address.String(), Port: int32(b.Port)})
		}
	}
	return nil
}

// pod reads the record of a pod of the trace's namespace; nil where there is none.
func (s *resolver) pod(ctx context.Context, name string) (*v1alpha1.WorkloadEndpoint, error) {
	var list v1alpha1.WorkloadEndpointList
	if err := s.Live.List(ctx, &list, client.InNamespace(s.trace.Namespace), client.MatchingFields{"spec.pod": name}); err != nil {
		return nil, fmt.Errorf("read the record of pod %s/%s: %w", s.trace.Namespace, name, err)
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	return &list.Items[0], nil
}

// placeAt finds whose an address is.
func (s *resolver) placeAt(ctx context.Context, a netip.Addr) (Place, error) {
	name, ok := s.Addresses.Record(a)
	if !ok {
		return Place{Address: a, Node: s.facts.Nodes[a]}, nil
	}
	var record v1alpha1.WorkloadEndpoint
	if err := s.Live.Get(ctx, name, &record); err != nil {
		if apierrors.IsNotFound(err) {
			return Place{Address: a}, nil
		}
		return Place{}, fmt.Errorf("read WorkloadEndpoint %s: %w", name, err)
	}
	return placeOf(&record, a), nil
}

// service reads a Service, and returns its addresses.
func (s *resolver) service(ctx context.Context) ([]netip.Addr, error) {
	key := client.ObjectKey{Namespace: s.trace.Namespace, Name: s.trace.Spec.Destination.Service}
	if other := s.trace.Spec.Destination.ServiceNamespace; other != "" {
		key.Namespace = other
	}
	var service corev1.Service
	if err := s.Live.Get(ctx, key, &service); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, s.stop(unknown("", causeEndpoints, "There is no Service %s.", key))
		}
		return nil, fmt.Errorf("read Service %s: %w", key, err)
	}
	var out []netip.Addr
	for _, text := range service.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, s.stop(unknown("", causeEndpoints, "Service %s has no cluster IP, so its name leads to its pods at once: trace to one of them.", key))
	}
	at := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == s.trace.Spec.Port && string(p.Protocol) == string(s.trace.Spec.Protocol)
	})
	switch {
	case at >= 0:
		s.facts.Forwards = service.Spec.Ports[at].Name
	case s.trace.Spec.Protocol != v1alpha1.TraceICMP:
		return nil, s.stop(unknown("", causeEndpoints, "Service %s has no port %d for %s.", key, s.trace.Spec.Port, s.trace.Spec.Protocol))
	}
	s.facts.Service = key.String()
	return out, nil
}

// mostBackends is how many endpoints of a Service are looked at where a packet is sent to it.
const mostBackends = 32

// backends finds the pods behind the Service that are ready and of the family.
func (s *resolver) backends(ctx context.Context, a netip.Addr) error {
	key := serviceKey(s.facts.Service)
	var slicesOf discoveryv1.EndpointSliceList
	if err := s.Live.List(ctx, &slicesOf, client.InNamespace(key.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: key.Name}); err != nil {
		return fmt.Errorf("list the EndpointSlices of Service %s: %w", s.facts.Service, err)
	}
	unready, most := 0, mostBackends
	if s.trace.Spec.Observe {
		most = v1alpha1.MaxProbeEndpoints
	}
	for i := range slicesOf.Items {
		port := s.backendPort(&slicesOf.Items[i])
		if port == 0 && s.trace.Spec.Protocol != v1alpha1.TraceICMP {
			continue
		}
		for _, e := range slicesOf.Items[i].Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				unready++
				continue
			}
			for _, text := range e.Addresses {
				backend, err := netip.ParseAddr(text)
				if err != nil || backend.Is4() != a.Is4() {
					continue
				}
				if len(s.facts.Backends) == most {
					s.facts.Unlisted++
					continue
				}
				place, err := s.placeAt(ctx, backend)
				if err != nil {
					return err
				}
				s.facts.Backends = append(s.facts.Backends, Backend{place, port})
			}
		}
	}
	if len(s.facts.Backends) > 0 {
		return nil
	}
	why := "no pod has the labels that its selector asks for"
	if unready > 0 {
		why = fmt.Sprintf("%d pods are behind it, and none is ready", unready)
	}
	return s.stop(dropped(s.facts.Source.Node, causeEndpoints, "Service %s (%s) has no endpoints: %s. Nothing was sent, for every node rejects or drops such packets.", s.facts.Service, a, why))
}

// backendPort is the port that an EndpointSlice's endpoints have for the Service's port; 0 where they have none.
func (s *resolver) backendPort(slice *discoveryv1.EndpointSlice) uint16 {
	for _, p := range slice.Ports {
		protocol := ptr.Deref(p.Protocol, corev1.ProtocolTCP)
		if ptr.Deref(p.Name, "") == s.facts.Forwards && string(protocol) == string(s.trace.Spec.Protocol) {
			return uint16(ptr.Deref(p.Port, 0))
		}
	}
	return 0
}

// block finds the block that the destination lies in.
func (s *resolver) block(ctx context.Context) error {
	var list v1alpha1.IPBlockList
	if err := s.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list IPBlocks: %w", err)
	}
	for i := range list.Items {
		if p, err := netip.ParsePrefix(list.Items[i].Spec.CIDR); err == nil && p.Contains(s.facts.Destination.Address) {
			s.facts.Block = list.Items[i].Spec
		}
	}
	return nil
}

// mostSessions is how many sessions that are down a node's sentences name.
const mostSessions = 3

// sessions finds what is wrong with the BGP sessions of the nodes at both ends.
func (s *resolver) sessions(ctx context.Context) error {
	for _, node := range Participants(s.facts, nil) {
		var state v1alpha1.BGPNodeState
		if err := s.Live.Get(ctx, client.ObjectKey{Name: node}, &state); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return fmt.Errorf("read BGPNodeState %s: %w", node, err)
		}
		for _, one := range state.Status.Sessions {
			if one.State != "Established" && len(s.facts.Sessions[node]) < mostSessions {
				s.facts.Sessions[node] = append(s.facts.Sessions[node],
					fmt.Sprintf("the BGP session of node %s with %s (AS %d, %s) is %s. %s", node, one.Peer, one.ASNumber, one.Source, one.State, one.LastError))
			}
		}
	}
	return nil
}

func addressesOf(w *v1alpha1.WorkloadEndpoint) []netip.Addr {
	var out []netip.Addr
	for _, a := range w.Spec.Addresses {
		if p, err := netip.ParsePrefix(a); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out
}

func placeOf(w *v1alpha1.WorkloadEndpoint, a netip.Addr) Place {
	return Place{Address: a, Pod: w.Namespace + "/" + w.Spec.Pod, Node: w.Spec.Node, Link: w.Spec.Interface}
}

// pair is the first pair of addresses of one family.
func pair(from, to []netip.Addr, family string) (a, b netip.Addr, ok bool) {
	for _, a := range from {
		for _, b := range to {
			if a.Is4() == b.Is4() && (family == "" || a.Is4() == (family == "IPv4")) {
				return a, b, true
			}
		}
	}
	return a, b, false
}

// probeID is a source port or identifier that no other trace is likely to have, above those that Linux gives to connections.
func probeID(uid types.UID) int32 {
	h := fnv.New32a()
	h.Write([]byte(uid)) //nolint:errcheck // hash.Hash says that it returns no error
	return int32(61000 + h.Sum32()%4500)
}

func serviceKey(text string) client.ObjectKey {
	for i := range text {
		if text[i] == types.Separator {
			return client.ObjectKey{Namespace: text[:i], Name: text[i+1:]}
		}
	}
	return client.ObjectKey{Name: text}
}
