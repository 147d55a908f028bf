// Package protocol is what the CNI plugin and the node agent say to each other over the agent's unix socket: one request
// and one answer for each connection. The plugin's start is a good part of an ADD, so this package imports nothing.
package protocol

// DefaultSocket is where the agent listens.
const DefaultSocket = "/run/causeway/agent.sock"

// ServedSuffix after the socket's path names a file that the agent leaves when it can serve pods for the first time since the node's
// start: the folder is empty after a reboot. From then on STATUS says that the network is there, whether or not the agent is: what has
// been set up for pods stays in the kernel without it, and ADD waits for it. A node that is not Ready, however, loses its pods from
// all Services.
const ServedSuffix = ".served"

// Versions are the versions of the CNI specification that we speak.
var Versions = []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// Request is one call of the plugin by a container runtime (CNI spec section 2).
type Request struct {
	// Command is the CNI verb: ADD, DEL, CHECK, GC or STATUS.
	Command string
	// ContainerID, NetworkNamespace, Interface and Args are the runtime's CNI_ parameters.
	ContainerID, NetworkNamespace, Interface, Args string
	// PatienceMilliseconds is how long the caller waits for an answer.
	PatienceMilliseconds int64
	// Config is the network configuration from standard input, as it came.
	Config []byte
}

// Response is the agent's answer before it is written down. At most one of Result and Error is set.
type Response struct {
	// Result is the CNI result of an ADD, in the version that the configuration asks for.
	Result []byte
	Error  *Error
}

// Error is a CNI error (CNI spec section 5, "Error").
type Error struct {
	Code    uint
	Message string
	Details string
}

// Error codes. Those below 100 are the CNI spec's; the others are ours.
const (
	CodeIncompatibleVersion uint = 1
	CodeInvalidEnvironment  uint = 4
	CodeIOFailure           uint = 5
	CodeDecodingFailure     uint = 6
	CodeInvalidConfig       uint = 7
	CodeTryAgainLater       uint = 11
	CodeNotAvailable        uint = 50
	// CodeNoPool says that no IPPool may serve the pod.
	CodeNoPool uint = 100
	// CodePoolFull says that every IPPool that may serve the pod is full.
	CodePoolFull uint = 101
	// CodeInterfaceTaken says that the pod has an interface of the wanted name already.
	CodeInterfaceTaken uint = 102
	// CodeNoNamespace says that CNI_NETNS leads to no network namespace.
	CodeNoNamespace uint = 103
	// CodeNotAsExpected says that CHECK found a difference.
	CodeNotAsExpected uint = 104
	// CodeInternal is any other failure.
	CodeInternal uint = 999
)
