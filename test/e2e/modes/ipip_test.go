package modes_test

import (
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

// needIPIP are the modes that need the kernel's module ipip.
var needIPIP = []mode{ipipAll, ipipCross}

// TestIPIPModes is TestModes where nodes have a kernel that can do IPIP: in the lab's virtual machine if this one can't.
func TestIPIPModes(t *testing.T) { run(t, lab.Options{NeedIPIP: true}, plainKernel, needIPIP) }
