// Command causeway is the CNI plugin. It passes each call of the container runtime to the node agent over a unix socket
// and prints the answer; it knows nothing of Kubernetes and holds no credential.
//
// The runtime starts it for every call, so its own start counts: it uses system calls and nothing above them (each package
// of the standard library that is left out saves its set-up), and the agent checks what the runtime has passed.
package main

import (
	"syscall"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/internal/version"
)

const (
	stdin, stdout = 0, 1

	// defaultPatience is how long a call may take, in milliseconds, the wait for an agent that restarts included.
	defaultPatience = 25_000
	// statusPatience is shorter: a runtime asks for the status often, and waits for it.
	statusPatience = 3_000
)

func main() {
	output, failed := run(syscall.Getenv, stdin)
	if err := writeAll(stdout, output); err != nil || failed {
		syscall.Exit(1)
	}
}

// run does what the environment asks for. It returns what to print, and whether the call has failed.
func run(getenv func(string) (string, bool), config int) (output []byte, failed bool) {
	get := func(name string) string { value, _ := getenv(name); return value }
	r := protocol.Request{
		Command: get("CNI_COMMAND"), ContainerID: get("CNI_CONTAINERID"), NetworkNamespace: get("CNI_NETNS"),
		Interface: get("CNI_IFNAME"), Args: get("CNI_ARGS"),
	}
	switch r.Command {
	case "":
		return []byte("causeway version " + version.String() + "\nThis is a CNI plugin, which asks the node agent of Causeway.\n" +
			"CNI protocol versions supported: " + list("", ", ") + "\n"), false
	case "VERSION":
		return []byte(`{"cniVersion":"` + protocol.Versions[len(protocol.Versions)-1] + `","supportedVersions":[` + list(`"`, ",") + "]}\n"), false
	}
	var err error
	if r.Config, err = readAll(config); err != nil {
		return failure("", protocol.CodeIOFailure, "The network configuration can't be read from standard input.", err.Error()), true
	}
	answer, err := ask(r)
	if err != nil {
		if r.Command == "STATUS" && exists(socketOf(r)+protocol.ServedSuffix) {
			return nil, false
		}
		code := protocol.CodeTryAgainLater
		if r.Command == "STATUS" {
			code = protocol.CodeNotAvailable
		}
		return failure(member(r.Config, "cniVersion"), code,
			"The Causeway node agent does not answer; see whether its pod runs on this node, and try again later.", err.Error()), true
	}
	return answer[1:], answer[0] != protocol.Succeeded
}

func list(quote, separator string) (out string) {
	for i, v := range protocol.Versions {
		if i > 0 {
			out += separator
		}
		out += quote + v + quote
	}
	return out
}
