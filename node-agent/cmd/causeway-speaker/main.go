// Command causeway-speaker is the BGP speaker of a node. The agent starts it. It is a binary of its own, so that the agent
// does not carry GoBGP.
package main

import (
	"context"
	"os"

	"github.com/causeway-net/causeway/node-agent/bgp/gobgp"
)

func main() {
	if gobgp.NewCommand().ExecuteContext(context.Background()) != nil {
		os.Exit(1)
	}
}
