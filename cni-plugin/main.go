// Command causeway is the CNI plugin. It passes each call of the container runtime to the node agent over a unix socket
// and prints the answer; it knows nothing of Kubernetes and holds no credential.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
	built "github.com/causeway-net/causeway/internal/version"
)

const (
	defaultPatience = 25 * time.Second
	// connectPatience lets an agent restart without failing a pod.
	connectPatience = 3 * time.Second
	connectPause    = 50 * time.Millisecond
)

// config is what the plugin itself needs of the network configuration; the agent reads the rest.
type config struct {
	// Socket is the agent's socket.
	Socket string `json:"socket"`
	// PatienceSeconds is how long a call may take.
	PatienceSeconds int64 `json:"patienceSeconds"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("causeway version " + built.String())
		return
	}
	call := func(verb string) func(*skel.CmdArgs) error {
		return func(args *skel.CmdArgs) error { return ask(verb, args, os.Stdout) }
	}
	skel.PluginMainFuncs(skel.CNIFuncs{Add: call("ADD"), Del: call("DEL"), Check: call("CHECK"), GC: call("GC"), Status: call("STATUS")},
		version.All, "Causeway CNI plugin: asks the node agent of Causeway")
}

// ask sends one call to the agent and writes the result, if there is one.
func ask(verb string, args *skel.CmdArgs, out io.Writer) error {
	conf := config{Socket: protocol.DefaultSocket}
	if err := json.Unmarshal(args.StdinData, &conf); err != nil {
		return types.NewError(protocol.CodeDecodingFailure, "The network configuration is not valid JSON of the expected shape.", err.Error())
	}
	patience := defaultPatience
	if conf.PatienceSeconds > 0 {
		patience = time.Duration(conf.PatienceSeconds) * time.Second
	}
	deadline := time.Now().Add(patience)
	response, err := exchange(conf.Socket, deadline, protocol.Request{
		Command: verb, ContainerID: args.ContainerID, NetworkNamespace: args.Netns, Interface: args.IfName, Args: args.Args,
		Config: args.StdinData, PatienceMilliseconds: (patience - time.Second/2).Milliseconds(),
	})
	if err != nil {
		code := protocol.CodeTryAgainLater
		if verb == "STATUS" {
			code = protocol.CodeNotAvailable
		}
		return types.NewError(code, "The Causeway node agent does not answer; see whether its pod runs on this node, and try again later.", err.Error())
	}
	if response.Error != nil {
		return types.NewError(response.Error.Code, response.Error.Message, response.Error.Details)
	}
	if len(response.Result) > 0 {
		if _, err := out.Write(append(response.Result, '\n')); err != nil {
			return types.NewError(types.ErrIOFailure, "The result can't be written to standard output.", err.Error())
		}
	}
	return nil
}

// exchange sends the request over a connection of its own and reads the response. A call that the agent may have begun
// is not repeated: the runtime does that.
func exchange(socket string, deadline time.Time, request protocol.Request) (protocol.Response, error) {
	var response protocol.Response
	conn, err := connect(socket, deadline)
	if err != nil {
		return response, err
	}
	defer conn.Close() //nolint:errcheck // the exchange is over
	if err := conn.SetDeadline(deadline); err != nil {
		return response, fmt.Errorf("set a deadline on %s: %w", socket, err)
	}
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return response, fmt.Errorf("send the call to %s: %w", socket, err)
	}
	if err := json.NewDecoder(conn).Decode(&response); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the agent ended before it answered")
		}
		return response, fmt.Errorf("read the answer from %s: %w", socket, err)
	}
	return response, nil
}

func connect(socket string, deadline time.Time) (net.Conn, error) {
	if limit := time.Now().Add(connectPatience); limit.Before(deadline) {
		deadline = limit
	}
	for {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		if err == nil || time.Now().Add(connectPause).After(deadline) {
			return conn, err
		}
		time.Sleep(connectPause)
	}
}
