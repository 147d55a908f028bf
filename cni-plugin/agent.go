package main

import (
	"errors"
	"syscall"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
)

const (
	// pause is the time between two attempts to connect, in milliseconds.
	pause = 20
	// margin is how much sooner than the plugin the agent gives up, in milliseconds, so that its reason is heard.
	margin = 500
)

// ask sends a call to the agent and returns the answer, which is not empty. A call that the agent may have begun is not
// repeated: the runtime does that.
func ask(r protocol.Request) ([]byte, error) {
	socket := socketOf(r)
	patience := patienceOf(r)
	fd, waited, err := connect(socket, patience)
	if err != nil {
		return nil, errors.New("connect to " + socket + ": " + err.Error())
	}
	left := max(patience-waited, 2*margin)
	r.PatienceMilliseconds = left - margin
	limit := syscall.NsecToTimeval(left * 1e6)
	for _, option := range []int{syscall.SO_RCVTIMEO, syscall.SO_SNDTIMEO} {
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, option, &limit); err != nil {
			return nil, errors.New("set a time limit on " + socket + ": " + err.Error())
		}
	}
	if err := writeAll(fd, r.Encode()); err != nil {
		return nil, errors.New("send the call to " + socket + ": " + err.Error())
	}
	if err := syscall.Shutdown(fd, syscall.SHUT_WR); err != nil {
		return nil, errors.New("send the call to " + socket + ": " + err.Error())
	}
	answer, err := readAll(fd)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return nil, errors.New("no answer from " + socket + " in time")
	case err != nil:
		return nil, errors.New("read the answer from " + socket + ": " + err.Error())
	case len(answer) == 0:
		return nil, errors.New("the agent ended before it answered")
	}
	return answer, nil
}

func socketOf(r protocol.Request) string {
	if socket := member(r.Config, "socket"); socket != "" {
		return socket
	}
	return protocol.DefaultSocket
}

func exists(path string) bool {
	const existence = 0 // access(2), F_OK
	return syscall.Access(path, existence) == nil
}

// patienceOf returns how long a call may take, in milliseconds.
func patienceOf(r protocol.Request) int64 {
	var seconds int64
	for _, digit := range []byte(member(r.Config, "patienceSeconds")) {
		if digit < '0' || digit > '9' || seconds > 1e6 {
			seconds = 0
			break
		}
		seconds = 10*seconds + int64(digit-'0')
	}
	switch {
	case seconds > 0:
		return 1000 * seconds
	case r.Command == "STATUS":
		return statusPatience
	}
	return defaultPatience
}

// connect waits for an agent that restarts as long as the call may take. waited is the time that this has taken at least;
// pauses are counted, since a clock would have to be set up.
func connect(socket string, patience int64) (fd int, waited int64, err error) {
	for ; ; waited += pause {
		fd, err = syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return 0, waited, err
		}
		if err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err == nil {
			return fd, waited, nil
		}
		syscall.Close(fd) //nolint:errcheck // the first error counts
		if waited+pause > patience {
			return 0, waited, err
		}
		length := syscall.NsecToTimespec(pause * 1e6)
		_ = syscall.Nanosleep(&length, nil) // a signal makes one pause shorter
	}
}

func writeAll(fd int, text []byte) error {
	for len(text) > 0 {
		n, err := syscall.Write(fd, text)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

func readAll(fd int) ([]byte, error) {
	text := make([]byte, 0, 8<<10)
	for {
		if len(text) == cap(text) {
			text = append(make([]byte, 0, 2*cap(text)), text...)
		}
		n, err := syscall.Read(fd, text[len(text):cap(text)])
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return nil, err
		case n == 0:
			return text, nil
		default:
			text = text[:len(text)+n]
		}
	}
}
