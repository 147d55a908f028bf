package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/causeway-net/causeway/test/lab/kernel"
	"github.com/causeway-net/causeway/test/lab/vm"
)

// KernelDir is where the virtual machine's kernel is kept, within the repository.
const KernelDir = "bin/kernel"

// exitMachineLost is the exit code of a test program that lost its virtual machine.
const exitMachineLost = 75

// Lost gets an error when the virtual machine of the nodes is lost. It gets nothing where there is none.
func (l *Lab) Lost() <-chan error { return l.lost }

// exitWhenLost ends the test program when the virtual machine is lost: no test can go on without its nodes. Main runs the
// package's tests once more then.
func (l *Lab) exitWhenLost(stopped <-chan struct{}) {
	select {
	case err := <-l.lost:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitMachineLost)
	case <-stopped:
	}
}

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
	l.vm, l.runner, l.lost = v, v, v.Lost()
	l.logf("virtual machine up")
	return nil
}
