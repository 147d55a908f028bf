// Package scale_test runs the BGP part of many nodes on one machine: every node has a speaker's process, a kernel of its
// own, and what brings the one to the other. The API and the rest of the agents are left out, to fit many into 2 cores.
package scale_test

import (
	"os"
	"testing"

	"github.com/causeway-net/causeway/test/routers"
)

func TestMain(m *testing.M) { os.Exit(routers.Main(m)) }
