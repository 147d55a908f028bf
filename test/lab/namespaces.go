package lab

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/causeway-net/causeway/test/namespaces"
)

// Main runs a package's tests inside namespaces of their own; call it from TestMain and exit with what it returns.
// Everything in there ends with the process, however that ends. If the nodes' virtual machine is lost, which is not what
// is tested, all tests run once more with a new one.
func Main(m *testing.M) int {
	log.SetLogger(logr.Discard()) // else the API client prints a stack trace about it
	code := namespaces.Main(m, Prepare)
	if code == exitMachineLost && !namespaces.Inside() {
		fmt.Fprintln(os.Stderr, "The tests of this package run once more, with a new virtual machine.")
		code = namespaces.Main(m, Prepare)
	}
	return code
}

// Prepare makes the namespaces that namespaces.Enter gave us usable for a lab: mounts, and a router between its subnets.
func Prepare() error {
	if err := namespaces.Prepare(); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", labMount, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", labMount, err)
	}
	for name, value := range map[string]string{
		"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv6/conf/default/accept_dad": "0",
	} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
			return fmt.Errorf("make the lab's namespace a router: %w", err)
		}
	}
	return nil
}
