package lab

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/causeway-net/causeway/test/lab/kernel"
	"github.com/causeway-net/causeway/test/lab/vm"
)

// KernelDir is where the virtual machine's kernel is kept, within the repository.
const KernelDir = "bin/kernel"

// boot starts the virtual machine that the nodes will live in.
func (l *Lab) boot(ctx context.Context) error {
	dir := filepath.Join(l.Repo, KernelDir)
	if !kernel.Ready(dir) {
		return fmt.Errorf("the nodes need a virtual machine, and %s holds no kernel for it: run `make kernel`", KernelDir)
	}
	bridges := map[int]string{}
	for _, n := range numbers(l.o.Subnets) {
		bridges[n] = bridgeName(n)
	}
	v, err := vm.Boot(ctx, vm.Options{Kernel: dir, Dir: l.Dir, Shared: labMount, LabNode: l.Bin("lab-node"), Bridges: bridges})
	if err != nil {
		return err
	}
	l.vm, l.runner = v, v
	l.logf("virtual machine up")
	return nil
}
