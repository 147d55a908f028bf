// Package route is what people see of a path trace: what they type becomes a PathTrace, and a PathTrace that has finished becomes
// lines of text. It does no I/O of its own.
package route

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Ask is what is asked for besides source and destination.
type Ask struct {
	Protocol, Family string
	Size             int32
	Observe          bool
}

// Object makes the PathTrace. namespace is that of a pod or Service that names none.
func (a Ask) Object(from, to, namespace string) (*v1alpha1.PathTrace, error) {
	ns, pod, found := strings.Cut(strings.TrimPrefix(from, "pod/"), "/")
	if !found {
		ns, pod = namespace, ns
	}
	host, port, err := splitPort(to)
	if err != nil {
		return nil, err
	}
	trace := &v1alpha1.PathTrace{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "kubectl-"},
		Spec:       v1alpha1.PathTraceSpec{SourcePod: pod, Port: port, Size: a.Size, Family: a.Family, Observe: a.Observe},
	}
	if trace.Spec.Destination, err = destination(host, ns); err != nil {
		return nil, err
	}
	protocol := strings.ToUpper(a.Protocol)
	if protocol == "" {
		protocol = map[bool]string{true: string(v1alpha1.TraceTCP), false: string(v1alpha1.TraceICMP)}[port > 0]
	}
	trace.Spec.Protocol = v1alpha1.TraceProtocol(protocol)
	switch trace.Spec.Protocol {
	case v1alpha1.TraceTCP, v1alpha1.TraceUDP:
		if port == 0 {
			return nil, fmt.Errorf("%s needs a port: write %s:PORT", protocol, to)
		}
	case v1alpha1.TraceICMP:
		if port > 0 {
			return nil, errors.New("icmp has no ports")
		}
	default:
		return nil, fmt.Errorf("there is no protocol %q: use icmp, tcp or udp", a.Protocol)
	}
	return trace, nil
}

func destination(host, namespace string) (v1alpha1.PathDestination, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return v1alpha1.PathDestination{Address: address.String()}, nil
	}
	for _, prefix := range []string{"svc/", "service/"} {
		if name, ok := strings.CutPrefix(host, prefix); ok {
			if other, name, found := strings.Cut(name, "/"); found {
				return v1alpha1.PathDestination{Service: name, ServiceNamespace: other}, nil
			}
			name, other, _ := strings.Cut(name, ".")
			return v1alpha1.PathDestination{Service: name, ServiceNamespace: cmp.Or(other, namespace)}, nil
		}
	}
	ns, name, found := strings.Cut(strings.TrimPrefix(host, "pod/"), "/")
	if !found {
		ns, name = namespace, ns
	}
	if ns != namespace {
		return v1alpha1.PathDestination{}, fmt.Errorf("pod %s is in another namespace than the source: name it by its address (kubectl -n %s get pod %s -o wide)", name, ns, name)
	}
	return v1alpha1.PathDestination{Pod: name}, nil
}

// OnlyPort is the one port that a Service has for a protocol, or for any protocol where none is named.
func OnlyPort(ports []corev1.ServicePort, protocol string) (corev1.ServicePort, error) {
	var have []string
	var only corev1.ServicePort
	for _, p := range ports {
		if protocol == "" || strings.EqualFold(protocol, string(p.Protocol)) {
			only = p
			have = append(have, fmt.Sprintf(":%d --protocol=%s", p.Port, strings.ToLower(string(p.Protocol))))
		}
	}
	switch len(have) {
	case 0:
		return only, fmt.Errorf("it has no port for %s", cmp.Or(protocol, "anything"))
	case 1:
		return only, nil
	}
	return only, fmt.Errorf("it has several ports, so name one: %s", strings.Join(have, ", "))
}

// splitPort takes a port off its host. An IPv6 address without brackets has none.
func splitPort(to string) (string, int32, error) {
	if _, err := netip.ParseAddr(to); err == nil {
		return to, 0, nil
	}
	i := strings.LastIndexByte(to, ':')
	if i < 0 {
		return strings.Trim(to, "[]"), 0, nil
	}
	port, err := strconv.ParseUint(to[i+1:], 10, 16)
	if err != nil || port == 0 {
		return "", 0, fmt.Errorf("%q is no port", to[i+1:])
	}
	return strings.Trim(to[:i], "[]"), int32(port), nil
}
