// Command lab-node is what the lab runs on a node: the holder of the node's namespaces, the caller of CNI plugins,
// both ends of TCP streams, and a capture for those who are not root. It is small, because it is started often.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "lab-node: say what to do: hold, cni, serve, stream, capture or guest")
		os.Exit(2)
	}
	var err error
	switch verb, args := os.Args[1], os.Args[2:]; verb {
	case "hold":
		err = hold(args)
	case "cni":
		err = cni(args)
	case "serve":
		err = serveStreams(args)
	case "stream":
		err = runStream(args)
	case "capture":
		err = capturePackets(args)
	case "guest":
		err = guest(args)
	default:
		err = fmt.Errorf("%q is not one of hold, cni, serve, stream, capture and guest", verb)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab-node:", err)
		os.Exit(1)
	}
}
