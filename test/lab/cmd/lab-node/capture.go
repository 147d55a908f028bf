package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// Link types of capture files (https://www.tcpdump.org/linktypes.html).
const (
	linkEthernet = 1
	linkRaw      = 101
)

// capturePackets does what `tcpdump -w -` does, for those whom tcpdump refuses: as uid 0 of a user namespace it can't give up
// its groups. tcpdump still compiles the filter.
func capturePackets(args []string) error {
	if len(args) != 2 {
		return errors.New("capture needs an interface and a filter")
	}
	iface, err := net.InterfaceByName(args[0])
	if err != nil {
		return fmt.Errorf("find %s: %w", args[0], err)
	}
	link, name := uint32(linkEthernet), "EN10MB"
	if len(iface.HardwareAddr) != 6 && iface.Flags&net.FlagLoopback == 0 {
		link, name = linkRaw, "RAW"
	}
	program, err := compileFilter(name, args[1])
	if err != nil {
		return err
	}
	// In network byte order (packet(7)).
	order := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	if len(program) > 0 {
		p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &p); err != nil {
			return fmt.Errorf("attach the filter: %w", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: order, Ifindex: iface.Index}); err != nil {
		return fmt.Errorf("listen on %s: %w", args[0], err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for the kernel's times: %w", err)
	}
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, 0xa1b2c3d4)
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], 65536)
	binary.LittleEndian.PutUint32(head[20:], link)
	if _, err := os.Stdout.Write(head); err != nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	fmt.Fprintln(os.Stderr, "listening on", args[0])
	// SIGINT ends the capture once what the kernel holds is read.
	stop, done := signal.NotifyContext(context.Background(), unix.SIGINT)
	defer done()
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return fmt.Errorf("set how long to wait for a packet: %w", err)
	}
	buffer, beside := make([]byte, 16+65536), make([]byte, 128)
	for {
		flags := 0
		if stop.Err() != nil {
			flags = unix.MSG_DONTWAIT
		}
		n, more, _, _, err := unix.Recvmsg(fd, buffer[16:], beside, flags)
		switch {
		case errors.Is(err, unix.EAGAIN) && flags != 0:
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		}
		if err != nil {
			return fmt.Errorf("receive on %s: %w", args[0], err)
		}
		at := kernelTime(beside[:more])
		binary.LittleEndian.PutUint32(buffer, uint32(at.Unix()))
		binary.LittleEndian.PutUint32(buffer[4:], uint32(at.Nanosecond()/1000))
		binary.LittleEndian.PutUint32(buffer[8:], uint32(n))
		binary.LittleEndian.PutUint32(buffer[12:], uint32(n))
		if _, err := os.Stdout.Write(buffer[:16+n]); err != nil {
			return fmt.Errorf("write the capture: %w", err)
		}
	}
}

// kernelTime is when the kernel saw the packet, which puts the packets of several captures in order (socket(7), SO_TIMESTAMPNS).
func kernelTime(beside []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(beside)
	if err != nil || len(messages) == 0 || len(messages[0].Data) < 16 {
		return time.Now()
	}
	b := messages[0].Data
	return time.Unix(int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:])))
}

func compileFilter(link, filter string) ([]unix.SockFilter, error) {
	out, err := exec.Command("tcpdump", "-y", link, "-ddd", filter).Output()
	if err != nil {
		return nil, fmt.Errorf("compile the filter %q: %w", filter, err)
	}
	r := bytes.NewReader(out)
	var n int
	if _, err := fmt.Fscan(r, &n); err != nil {
		return nil, fmt.Errorf("read the compiled filter: %w", err)
	}
	program := make([]unix.SockFilter, n)
	for i := range program {
		p := &program[i]
		if _, err := fmt.Fscan(r, &p.Code, &p.Jt, &p.Jf, &p.K); err != nil {
			return nil, fmt.Errorf("read the compiled filter: %w", err)
		}
	}
	return program, nil
}
