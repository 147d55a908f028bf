// Package protocol is what the CNI plugin and the node agent say to each other over the agent's unix socket: one JSON
// request and one JSON response for each connection. It imports next to nothing, to keep the plugin's start short.
package protocol

import "encoding/json"

// DefaultSocket is where the agent listens.
const DefaultSocket = "/run/causeway/agent.sock"

// Request is one call of the plugin by a container runtime (CNI spec section 2).
type Request struct {
	// Command is the CNI verb: ADD, DEL, CHECK, GC or STATUS.
	Command string `json:"command"`
	// ContainerID, NetworkNamespace, Interface and Args are the runtime's CNI_ parameters.
	ContainerID      string `json:"containerID,omitempty"`
	NetworkNamespace string `json:"netns,omitempty"`
	Interface        string `json:"ifname,omitempty"`
	Args             string `json:"args,omitempty"`
	// Config is the network configuration from standard input.
	Config json.RawMessage `json:"config,omitempty"`
	// PatienceMilliseconds is how long the caller waits for an answer.
	PatienceMilliseconds int64 `json:"patienceMilliseconds,omitempty"`
}

// Response is the agent's answer. At most one of Result and Error is set.
type Response struct {
	// Result is the CNI result of an ADD, in the version that the configuration asks for.
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

// Error is a CNI error (CNI spec section 5, "Error").
type Error struct {
	Code    uint   `json:"code"`
	Message string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// Error codes. Those below 100 are the CNI spec's; the others are ours.
const (
	CodeInvalidEnvironment uint = 4
	CodeDecodingFailure    uint = 6
	CodeInvalidConfig      uint = 7
	CodeTryAgainLater      uint = 11
	CodeNotAvailable       uint = 50
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
