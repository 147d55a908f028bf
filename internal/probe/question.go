// Package probe is what `kubectl causeway check` runs in pods: a server that says whose it is, and a client that asks such
// servers and reports which of them answered. It knows nothing of Kubernetes.
package probe

// Port is where servers listen, by TCP and by UDP.
const Port = 8480

// Kind is how a question is asked.
type Kind string

const (
	// Connect opens a TCP connection, and reads the server's name where one is wanted.
	Connect Kind = "TCP"
	// FullPacket sends a UDP packet as large as the MTU of the pod's interface, which nobody may break up (DF), and waits for
	// the same packet to come back.
	FullPacket Kind = "full packet"
)

// Question is something to try.
type Question struct {
	// ID comes back with the answer.
	ID   int  `json:"id"`
	Kind Kind `json:"kind"`
	// Target is a host, by address or by name, and a port.
	Target string `json:"target"`
	// Names are the servers that may answer; none means that anybody may, and need not say a word.
	Names []string `json:"names,omitempty"`
}

// Answer is what came of a question.
type Answer struct {
	ID int `json:"id"`
	// Problem is empty if all was well.
	Problem string `json:"problem,omitempty"`
}
