package machine

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// startOnTerminal starts the command on a pseudoterminal (pty(7)).
func (p *localProcess) startOnTerminal(s Spec, std Stdio) error {
	master, slave, err := openTerminal()
	if err != nil {
		return err
	}
	defer slave.Close()
	size := &unix.Winsize{Row: s.Rows, Col: s.Cols}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size); err != nil {
		_ = master.Close() // Of no use any more.
		return fmt.Errorf("set the terminal's size: %w", err)
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		_ = master.Close() // Of no use any more.
		return fmt.Errorf("start %s: %w", s.Argv[0], err)
	}
	p.terminal, p.copied = master, make(chan struct{})
	go func() {
		_, _ = io.Copy(std.Out, master) // Ends with EIO when the last user of the terminal is gone.
		close(p.copied)
	}()
	go func() { _, _ = io.Copy(master, std.In) }() // Ends with the caller's input or the terminal.
	return nil
}

func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		_ = master.Close() // Of no use any more.
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	return master, slave, nil
}
