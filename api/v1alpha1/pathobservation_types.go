package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ProbeSpec is the packet that a trace sends, or the packets that it looks for, by which every node knows them.
// +kubebuilder:validation:XValidation:rule="has(self.observe) && self.observe ? self.id == 0 : self.id >= 1024",message="a packet that is sent has an id, and those that are looked for have any"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoints) || has(self.observe) && self.observe && self.protocol != 'ICMP'",message="endpoints are for live packets of TCP and UDP to a Service"
type ProbeSpec struct {
	// source is the address of the pod that sends.
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="not an IP address"
	Source string `json:"source"`
	// destination is the address that the pod sends to.
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="not an IP address"
	Destination string `json:"destination"`
	// protocol is what is sent.
	Protocol TraceProtocol `json:"protocol"`
	// id is the source port of TCP and UDP, and the identifier of ICMP; 0 where live packets are looked for.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	ID int32 `json:"id"`
	// port is the destination port of TCP and UDP.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`
	// size is the length of the IP packet; 0 for a small one.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9000
	// +optional
	Size int32 `json:"size,omitempty"`
	// observe says that nothing is sent, and the pod's own packets are looked for.
	// +optional
	Observe bool `json:"observe,omitempty"`
	// endpoints are those of the Service that destination and port are of, where there is one and live packets are looked for: a
	// packet may have one of them as its destination instead.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Endpoints []ProbeEndpoint `json:"endpoints,omitempty"`
}

// MaxProbeEndpoints is how many endpoints a probe has at most: an agent's packet filter has room for no more.
const MaxProbeEndpoints = 20

// ProbeEndpoint is one endpoint of a Service.
type ProbeEndpoint struct {
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="not an IP address"
	Address string `json:"address"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// What an agent is asked to do.
const (
	// StepWatch: capture the packet.
	StepWatch = "Watch"
	// StepSend: send it, and report once it is answered or lost. Only the node of the source is asked that.
	StepSend = "Send"
	// StepFollow: choose the next live packet of the pod that matches, and report once it is answered or lost, or there was none. Only
	// the node of the source is asked that.
	StepFollow = "Follow"
	// StepReport: report what was seen.
	StepReport = "Report"
)

// PathObservationSpec asks one node to look for the packet of a PathTrace. The controller writes it.
// +kubebuilder:validation:XValidation:rule="self.node == oldSelf.node && self.trace == oldSelf.trace && self.probe == oldSelf.probe",message="only the step can change"
// +kubebuilder:validation:XValidation:rule="!(self.step in ['Send', 'Follow']) || has(self.pod)",message="who sends needs a pod"
type PathObservationSpec struct {
	// trace is the name of the PathTrace, in this object's namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Trace string `json:"trace"`
	// node is the node that looks.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Node string `json:"node"`
	// pod is the pod that sends, on the node that it runs on.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	// +optional
	Pod string `json:"pod,omitempty"`
	// probe is the packet.
	Probe ProbeSpec `json:"probe"`
	// step is what to do now.
	// +kubebuilder:validation:Enum=Watch;Send;Follow;Report
	Step string `json:"step"`
	// flow is the id of the live packets to report, which the source's node has chosen.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Flow int32 `json:"flow,omitempty"`
}

// SeenPacket is one packet that passed an interface of the node.
type SeenPacket struct {
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface"`
	// +kubebuilder:validation:Enum=In;Out
	Direction string `json:"direction"`
	// +kubebuilder:validation:Enum=Request;Reply;Error
	Leg    string     `json:"leg"`
	Packet PathPacket `json:"packet"`
	// mtu is what an ICMP error says that fits.
	// +optional
	MTU  int32            `json:"mtu,omitempty"`
	Time metav1.MicroTime `json:"time"`
}

// RouteFact is what the node's kernel does with a packet: its route, and the neighbour and tunnel that the route leads to.
type RouteFact struct {
	// leg is that of the packet, Tunnel for the outer packet of one.
	// +kubebuilder:validation:Enum=Request;Reply;Tunnel
	Leg string `json:"leg"`
	// destination, source and inputInterface are what was asked for.
	// +kubebuilder:validation:MaxLength=39
	Destination string `json:"destination"`
	// +kubebuilder:validation:MaxLength=39
	// +optional
	Source string `json:"source,omitempty"`
	// +kubebuilder:validation:MaxLength=15
	// +optional
	InputInterface string `json:"inputInterface,omitempty"`
	// prefix is the destination of the route, type for example unicast, local, blackhole, or missing.
	// +kubebuilder:validation:MaxLength=43
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// +kubebuilder:validation:MaxLength=16
	Type string `json:"type"`
	// +kubebuilder:validation:MaxLength=39
	// +optional
	Gateway string `json:"gateway,omitempty"`
	// +kubebuilder:validation:MaxLength=15
	// +optional
	Interface string `json:"interface,omitempty"`
	// +optional
	Protocol int32 `json:"protocol,omitempty"`
	// +optional
	Table int32 `json:"table,omitempty"`
	// rule is the routing rule that led to the table.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Rule string `json:"rule,omitempty"`
	// mtu is that of the route, or of its interface.
	// +optional
	MTU int32 `json:"mtu,omitempty"`
	// neighbour is the hardware address that the packet is sent to, and neighbourState what the kernel thinks of it.
	// +kubebuilder:validation:MaxLength=59
	// +optional
	Neighbour string `json:"neighbour,omitempty"`
	// +kubebuilder:validation:MaxLength=16
	// +optional
	NeighbourState string `json:"neighbourState,omitempty"`
	// tunnel is the remote end: of a VXLAN device as its forwarding database says, or "missing" where it says nothing.
	// +kubebuilder:validation:MaxLength=39
	// +optional
	Tunnel string `json:"tunnel,omitempty"`
	// back is the interface that answers to the source would leave by, which rp_filter, and our own rule against forged sources, want to be the input interface.
	// +kubebuilder:validation:MaxLength=15
	// +optional
	Back string `json:"back,omitempty"`
	// reversePathFilter is the mode of rp_filter of the input interface.
	// +optional
	ReversePathFilter int32 `json:"reversePathFilter,omitempty"`
}

// FilterVerdict is a rule of nftables that dropped or rejected the packet.
type FilterVerdict struct {
	// +kubebuilder:validation:Enum=Request;Reply;Error
	Leg string `json:"leg"`
	// +kubebuilder:validation:MaxLength=16
	Family string `json:"family"`
	// +kubebuilder:validation:MaxLength=128
	Table string `json:"table"`
	// +kubebuilder:validation:MaxLength=128
	Chain string `json:"chain"`
	// handle is the rule's number, 0 for the policy of the chain.
	// +optional
	Handle int64 `json:"handle,omitempty"`
	// rule is its text.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Rule string `json:"rule,omitempty"`
}

// NodeLink is a link of the node that the packet may have passed.
type NodeLink struct {
	// +kubebuilder:validation:MaxLength=15
	Name string `json:"name"`
	// +kubebuilder:validation:MaxLength=59
	// +optional
	MAC string `json:"mac,omitempty"`
	MTU int32  `json:"mtu"`
}

// States of a PathObservation.
const (
	ObservationWatching = "Watching"
	ObservationDone     = "Done"
	ObservationRefused  = "Refused"
)

// PathObservationStatus is what the node saw. Its agent writes it.
type PathObservationStatus struct {
	// state is Watching, Done or Refused.
	// +kubebuilder:validation:Enum=Watching;Done;Refused
	// +optional
	State string `json:"state,omitempty"`
	// message says why it was refused, or why the pod could not send.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Message string `json:"message,omitempty"`
	// packets in the order in which they passed.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Packets []SeenPacket `json:"packets,omitempty"`
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Routes []RouteFact `json:"routes,omitempty"`
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Verdicts []FilterVerdict `json:"verdicts,omitempty"`
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Links []NodeLink `json:"links,omitempty"`
	// flow is the id of the live packets that were chosen; 0 where there were none.
	// +optional
	Flow int32 `json:"flow,omitempty"`
	// overrun says that more live packets came than an agent looks at.
	// +optional
	Overrun bool `json:"overrun,omitempty"`
	// reversePathDrops is how many packets rp_filter dropped on the node meanwhile.
	// +optional
	ReversePathDrops int64 `json:"reversePathDrops,omitempty"`
}

// PathObservation is what one node is asked to look at for a PathTrace, and what it saw. The controller makes and deletes it;
// only the agent of its node watches it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=pob
// +kubebuilder:selectablefield:JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Trace",type=string,JSONPath=`.spec.trace`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.spec.step`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PathObservation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PathObservationSpec `json:"spec"`
	// +optional
	Status PathObservationStatus `json:"status,omitempty"`
}

// PathObservationList is a list of PathObservations.
// +kubebuilder:object:root=true
type PathObservationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PathObservation `json:"items"`
}
