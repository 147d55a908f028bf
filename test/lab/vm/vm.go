// Package vm runs the lab's nodes in one virtual machine with Debian's kernel. It plugs the machine's NICs into the
// lab's underlay; the lab's own guest program inside makes the nodes and runs their commands.
package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// What both sides of the machine's wall must agree about.
const (
	// ControlMAC is the NIC that commands come in by; NIC n of the subnets has SubnetMAC(n).
	ControlMAC   = "52:54:00:30:00:ff"
	HostAddress  = "172.30.250.1/30"
	GuestAddress = "172.30.250.2/30"
	Port         = 7000
)

// SubnetMAC is the hardware address of the NIC for a subnet.
func SubnetMAC(subnet int) string { return fmt.Sprintf("52:54:00:30:00:%02x", subnet) }

// Options of a machine.
type Options struct {
	// Kernel is the folder that package kernel filled.
	Kernel string
	// Dir is for the console's log.
	Dir string
	// Shared is a folder that machine and lab share, at the same path.
	Shared string
	// LabNode is the path of the lab-node binary.
	LabNode string
	// Bridges are the lab's underlay segments by subnet number.
	Bridges map[int]string
}

// VM is a running machine.
type VM struct {
	*machine.Client
	cmd  *exec.Cmd
	dir  string
	done chan struct{} // closed when QEMU has ended
	err  error
	nics []string

	stopWatch context.CancelFunc
	lost      chan error
}

// Lost gets an error, which shows the machine's console, when the machine panics, ends, or answers no more. It is killed
// then, and whatever waits for it gets the same error.
func (v *VM) Lost() <-chan error { return v.lost }

// Boot starts a machine and waits until it takes commands: with KVM if that works, else by emulation.
func Boot(ctx context.Context, o Options) (*VM, error) {
	broken := filepath.Join(o.Kernel, "kvm-does-not-work")
	if usable("/dev/kvm") && !exists(broken) {
		v, err := boot(ctx, o, "kvm", 8*time.Second)
		if err == nil {
			return v, nil
		}
		// Remembered, so that only the first lab waits for it.
		if err := os.WriteFile(broken, []byte(err.Error()+"\nDelete this file to try again.\n"), 0o644); err != nil {
			return nil, fmt.Errorf("remember that KVM does not work: %w", err)
		}
	}
	v, err := boot(ctx, o, emulation, time.Minute)
	if err == nil || ctx.Err() != nil {
		return v, err
	}
	again, secondErr := boot(ctx, o, emulation, time.Minute)
	if secondErr != nil {
		return nil, errors.Join(err, secondErr)
	}
	return again, nil
}

// emulation has one thread and, as a consequence, one CPU. With a thread for each CPU, QEMU 7.2 sometimes keeps its
// translation of a piece of code that another CPU has changed meanwhile. Linux changes its own code when it switches a
// feature on or off (static keys; time stamps of packets are switched by each tcpdump), by way of a breakpoint. A CPU that
// is left with the translation of the breakpoint runs into it for ever: "soft lockup" in net_rx_action.
const emulation = "tcg,thread=single"

// Close kills the machine and waits for its end.
func (v *VM) Close() error {
	v.stopWatch()
	_ = v.cmd.Process.Kill() // It may have ended.
	<-v.done
	lines := make([]string, len(v.nics))
	for i, nic := range v.nics {
		lines[i] = "link del " + nic
	}
	return machine.IPBatch(context.Background(), lines...)
}

// kernelArguments make a kernel that is stuck say so, with what its CPUs do (loglevel 5), and end, which ends QEMU. The clock is the
// CPU's own, which QEMU keeps steady. Left to itself the kernel may find it unsteady, when this machine lets it wait, and
// read a slow emulated one instead for each packet that is captured.
const kernelArguments = "console=ttyS0 loglevel=5 panic=-1 softlockup_panic=1 clocksource=tsc tsc=reliable"

func boot(ctx context.Context, o Options, accel string, limit time.Duration) (*VM, error) {
	cpus := "2"
	if accel == emulation {
		cpus = "1"
	}
	v := &VM{dir: o.Dir, done: make(chan struct{}), lost: make(chan error, 1), stopWatch: func() {}}
	args := []string{
		"-machine", "q35", "-accel", accel, "-cpu", "max", "-smp", cpus, "-m", "2048", "-nodefaults", "-no-reboot", "-display", "none",
		"-serial", "file:" + filepath.Join(o.Dir, "vm-console.log"),
		"-kernel", filepath.Join(o.Kernel, "vmlinuz"), "-initrd", filepath.Join(o.Kernel, "initramfs"),
		"-append", kernelArguments + " lab.node=" + o.LabNode,
		"-device", "virtio-rng-pci",
		"-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap,readonly=on,id=host",
		"-virtfs", "local,path=" + o.Shared + ",mount_tag=lab,security_model=none,multidevs=remap,id=lab",
	}
	lines := []string{"tuntap add vm-control mode tap", "addr add " + HostAddress + " dev vm-control", "link set vm-control up"}
	v.nics = []string{"vm-control"}
	args = append(args, nic("vm-control", ControlMAC)...)
	for subnet, bridge := range o.Bridges {
		tap := "vm-" + strconv.Itoa(subnet)
		lines = append(lines, "tuntap add "+tap+" mode tap", "link set "+tap+" master "+bridge, "link set "+tap+" up")
		v.nics = append(v.nics, tap)
		args = append(args, nic(tap, SubnetMAC(subnet))...)
	}
	if err := machine.IPBatch(ctx, lines...); err != nil {
		return nil, fmt.Errorf("make the virtual machine's NICs: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(o.Dir, "vm.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the virtual machine's log: %w", err)
	}
	defer log.Close()
	v.cmd = exec.Command("qemu-system-x86_64", args...)
	v.cmd.Stdout, v.cmd.Stderr = log, log
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := v.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start QEMU (install qemu-system-x86): %w", err)
	}
	go func() {
		v.err = v.cmd.Wait()
		close(v.done)
	}()
	address, _, _ := strings.Cut(GuestAddress, "/")
	address = net.JoinHostPort(address, strconv.Itoa(Port))
	if err := v.waitForGuest(ctx, address, limit); err != nil {
		_ = v.Close() // The first error counts.
		return nil, fmt.Errorf("boot the virtual machine by %s: %w; the end of its console: %s", accel, err, lastWords(o.Dir))
	}
	v.Client = machine.NewClient("tcp", address)
	watching, stop := context.WithCancel(context.Background())
	v.stopWatch = stop
	go v.watch(watching)
	return v, nil
}

func (v *VM) waitForGuest(ctx context.Context, address string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d := net.Dialer{Timeout: time.Second}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-v.done:
			return errors.Join(errors.New("it ended"), v.err)
		case <-ctx.Done():
			return fmt.Errorf("it took no command within %s: %w", limit, err)
		case <-tick.C:
		}
	}
}

// nic returns the arguments for a NIC on a tap. Without a boot ROM the firmware has less to try.
func nic(tap, mac string) []string {
	return []string{"-netdev", "tap,id=" + tap + ",ifname=" + tap + ",script=no,downscript=no",
		"-device", "virtio-net-pci,netdev=" + tap + ",mac=" + mac + ",romfile="}
}

// lastWords returns what the machine and QEMU said last.
func lastWords(dir string) string {
	var out string
	for _, name := range []string{"vm-console.log", "vm.log"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			out += string(text[max(0, len(text)-8000):])
		}
	}
	return out
}

func usable(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_ = f.Close() // Only tried.
	}
	return err == nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
