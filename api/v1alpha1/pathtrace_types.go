package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TraceProtocol is what a trace sends.
// +kubebuilder:validation:Enum=ICMP;TCP;UDP
type TraceProtocol string

// The protocols that a trace can send.
const (
	TraceICMP TraceProtocol = "ICMP"
	TraceTCP  TraceProtocol = "TCP"
	TraceUDP  TraceProtocol = "UDP"
)

// PathDestination is where a trace goes: exactly one of pod, service and address.
// +kubebuilder:validation:XValidation:rule="(has(self.pod) ? 1 : 0) + (has(self.service) ? 1 : 0) + (has(self.address) ? 1 : 0) == 1",message="name one of pod, service and address"
// +kubebuilder:validation:XValidation:rule="!has(self.serviceNamespace) || has(self.service)",message="serviceNamespace goes with service"
type PathDestination struct {
	// pod is the name of a pod in the namespace of the PathTrace. A pod of another namespace is named by its address.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	// +optional
	Pod string `json:"pod,omitempty"`

	// service is the name of a Service.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	// +optional
	Service string `json:"service,omitempty"`

	// serviceNamespace is the namespace of the Service, if it is not that of the PathTrace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +optional
	ServiceNamespace string `json:"serviceNamespace,omitempty"`

	// address is any IP address.
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="not an IP address"
	// +optional
	Address string `json:"address,omitempty"`
}

// PathTraceSpec is what to send, and where.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a PathTrace traces once and can't be edited; create another one"
// +kubebuilder:validation:XValidation:rule="self.protocol == 'ICMP' ? !has(self.port) : has(self.port)",message="TCP and UDP need a port, and ICMP has none"
// +kubebuilder:validation:XValidation:rule="!has(self.size) || self.protocol != 'TCP'",message="size is for ICMP and UDP"
// +kubebuilder:validation:XValidation:rule="!has(self.observe) || !self.observe || !has(self.size)",message="observe sends nothing, so it has no size"
// +kubebuilder:validation:XValidation:rule="!has(self.observe) || !self.observe || !has(self.destination.service) || self.protocol != 'ICMP'",message="a Service forwards TCP and UDP only: to observe packets to it, name such a protocol and a port"
type PathTraceSpec struct {
	// sourcePod is the name of the pod that sends, in the namespace of the PathTrace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	SourcePod string `json:"sourcePod"`

	// destination is where the packet goes.
	Destination PathDestination `json:"destination"`

	// protocol is ICMP (an echo request), TCP (a connection) or UDP (a datagram).
	// +kubebuilder:default=ICMP
	// +optional
	Protocol TraceProtocol `json:"protocol,omitempty"`

	// port is the destination's port.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`

	// family is IPv4 or IPv6. Default: the first one that source and destination both have.
	// +kubebuilder:validation:Enum=IPv4;IPv6
	// +optional
	Family string `json:"family,omitempty"`

	// size is the length of the IP packet in bytes. It is sent with "don't fragment", so that a large one finds a link whose
	// MTU is too small. Default: a small packet.
	// +kubebuilder:validation:Minimum=84
	// +kubebuilder:validation:Maximum=9000
	// +optional
	Size int32 `json:"size,omitempty"`

	// observe sends nothing. It follows packets that the pod sends by itself and that have this destination, protocol and port: the
	// first connection (or, for ICMP, ping) that is seen within ten seconds. Those to a Service are followed to the endpoint that
	// they are forwarded to, among those that are ready when the trace begins.
	// +optional
	Observe bool `json:"observe,omitempty"`

	// ttlSecondsAfterFinished is how long the finished PathTrace stays.
	// +kubebuilder:default=600
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=86400
	// +optional
	TTLSecondsAfterFinished int32 `json:"ttlSecondsAfterFinished,omitempty"`
}

// PathPacket is the header of one packet that was seen.
type PathPacket struct {
	// source and destination are addresses, with their ports where the protocol has ports.
	// +kubebuilder:validation:MaxLength=64
	Source string `json:"source"`
	// +kubebuilder:validation:MaxLength=64
	Destination string `json:"destination"`
	// kind says what the packet is, for example "echo request" or "TCP SYN".
	// +kubebuilder:validation:MaxLength=64
	Kind string `json:"kind"`
	// ttl is the TTL or hop limit.
	TTL int32 `json:"ttl"`
	// length of the IP packet in bytes.
	Length int32 `json:"length"`
	// outer is the header of the tunnel that the packet is in.
	// +optional
	Outer *OuterHeader `json:"outer,omitempty"`
}

// OuterHeader is what a tunnel puts around a packet.
type OuterHeader struct {
	// encapsulation is IPIP or VXLAN.
	// +kubebuilder:validation:MaxLength=16
	Encapsulation string `json:"encapsulation"`
	// +kubebuilder:validation:MaxLength=39
	Source string `json:"source"`
	// +kubebuilder:validation:MaxLength=39
	Destination string `json:"destination"`
	TTL         int32  `json:"ttl"`
	// +optional
	VNI int32 `json:"vni,omitempty"`
}

// PathHop is one interface that the packet was seen on.
type PathHop struct {
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface"`
	// direction is In or Out, as the node sees it.
	// +kubebuilder:validation:Enum=In;Out
	Direction string `json:"direction"`
	// leg is Request, Reply, or Error for an ICMP error about the request.
	// +kubebuilder:validation:Enum=Request;Reply;Error
	Leg string `json:"leg"`
	// packet is what was seen.
	Packet PathPacket `json:"packet"`
	// time is the node's.
	Time metav1.MicroTime `json:"time"`
	// route is the route that the node's kernel chose for the packet, rule the routing rule that led to its table.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Route string `json:"route,omitempty"`
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Rule string `json:"rule,omitempty"`
	// nat says which address was rewritten since the hop before.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	NAT string `json:"nat,omitempty"`
}

// How a path ends.
const (
	// PathAnswered: the source got an answer.
	PathAnswered = "Answered"
	// PathDelivered: the packet reached its destination, or left the cluster's nodes towards it, and no answer was seen.
	PathDelivered = "Delivered"
	// PathDropped: the packet, or its answer, was lost.
	PathDropped = "Dropped"
	// PathUnknown: the trace could not be made, or saw too little to tell.
	PathUnknown = "Unknown"
)

// PathEnd is how the path ends.
type PathEnd struct {
	// +kubebuilder:validation:Enum=Answered;Delivered;Dropped;Unknown
	Result string `json:"result"`
	// node is where it ends.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Node string `json:"node,omitempty"`
	// cause is a word for programs, for example NoRoute, Firewall or NoNeighbour.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Cause string `json:"cause,omitempty"`
	// message says in sentences what happened, and why.
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message"`
}

// Phases of a PathTrace.
const (
	TracePending  = "Pending"
	TraceRunning  = "Running"
	TraceFinished = "Finished"
)

// PathTraceStatus is what came of it. The controller writes it.
type PathTraceStatus struct {
	// phase is Pending (it waits for others to finish), Running or Finished.
	// +kubebuilder:validation:Enum=Pending;Running;Finished
	// +optional
	Phase string `json:"phase,omitempty"`

	// source and destination are the addresses, with the port.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Source string `json:"source,omitempty"`
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Destination string `json:"destination,omitempty"`

	// nodes are those whose agents were asked, the source's first.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	// +optional
	Nodes []string `json:"nodes,omitempty"`

	// silentNodes are those of them whose agents did not answer.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	// +optional
	SilentNodes []string `json:"silentNodes,omitempty"`

	// hops are the interfaces that the packet was seen on, in its order, and those of the answer.
	// +kubebuilder:validation:MaxItems=128
	// +listType=atomic
	// +optional
	Hops []PathHop `json:"hops,omitempty"`

	// end is how the path ends.
	// +optional
	End *PathEnd `json:"end,omitempty"`

	// startedAt and finishedAt are the controller's times.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
}

// PathTrace sends a packet from a pod as the pod would, or follows one that the pod sends by itself, and says where it went and where
// it ended. It is deleted some time after it has finished.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=pt,categories=causeway
// +kubebuilder:printcolumn:name="From",type=string,JSONPath=`.spec.sourcePod`
// +kubebuilder:printcolumn:name="To",type=string,JSONPath=`.status.destination`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Result",type=string,JSONPath=`.status.end.result`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.end.node`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.end.message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PathTrace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PathTraceSpec `json:"spec"`
	// +optional
	Status PathTraceStatus `json:"status,omitempty"`
}

// PathTraceList is a list of PathTraces.
// +kubebuilder:object:root=true
type PathTraceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PathTrace `json:"items"`
}
