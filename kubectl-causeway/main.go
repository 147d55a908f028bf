// Command kubectl-causeway is kubectl's plugin for Causeway: `kubectl causeway status` and more.
package main

import (
	"os"
	"path/filepath"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/causeway-net/causeway/kubectl-causeway/command"
)

// completer is the name by which kubectl asks a plugin to complete a command line: a link to this program.
const completer = "kubectl_complete-causeway"

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == completer {
		args = append([]string{"__complete"}, args...)
	}
	os.Exit(command.Run(command.Options{
		Streams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
	}, args))
}
