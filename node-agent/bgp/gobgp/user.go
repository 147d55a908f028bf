package gobgp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// These are the flags by which a speaker that has become another user gets what only root could open or read.
const flagListener, flagRestarting = "inherited-listener", "inherited-restarting"

// becomeUser makes this process another user's, which may do nothing more than a common one but listen on port 179. The socket for the
// agent is opened before, since that user can write to no folder of the node. The program starts anew, so that no thread keeps
// root's rights; it returns only if that fails.
//
// A container's runtime gives capabilities to root only. A process that gives root up takes one along by making it ambient, see
// capabilities(7).
func becomeUser(user int, listener *net.UnixListener, restarting bool) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the speaker's own program: %w", err)
	}
	file, err := listener.File()
	if err != nil {
		return fmt.Errorf("pass the socket on: %w", err)
	}
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("pass the socket on: %w", err)
	}
	// Of all threads only the one that calls exec lives on.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := giveUpRoot(user); err != nil {
		return fmt.Errorf("become user %d: %w (the container needs the capabilities SETUID, SETGID and NET_BIND_SERVICE)", user, err)
	}
	args := append(slices.Clone(os.Args), "--"+flagListener+"="+strconv.Itoa(int(file.Fd())), "--"+flagRestarting+"="+strconv.FormatBool(restarting))
	return fmt.Errorf("start anew as user %d: %w", user, unix.Exec(self, args, os.Environ()))
}

// giveUpRoot gives up all of root's rights but one. Capabilities belong to threads, so the caller must stay on this one.
func giveUpRoot(user int) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("rule out new rights: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	if err := errors.Join(unix.Setgroups(nil), unix.Setresgid(user, user, user), unix.Setresuid(user, user, user)); err != nil {
		return fmt.Errorf("change the user: %w", err)
	}
	const bind = 1 << unix.CAP_NET_BIND_SERVICE
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := [2]unix.CapUserData{{Effective: bind, Permitted: bind, Inheritable: bind}}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("keep NET_BIND_SERVICE: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_BIND_SERVICE, 0, 0); err != nil {
		return fmt.Errorf("take NET_BIND_SERVICE along: %w", err)
	}
	return nil
}

// inheritedListener is the socket that a root of this process has opened.
func inheritedListener(fd int) (*net.UnixListener, error) {
	file := os.NewFile(uintptr(fd), "the agent's socket")
	if file == nil {
		return nil, fmt.Errorf("descriptor %d is no socket", fd)
	}
	defer file.Close() // The listener has its own.
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take over the socket of descriptor %d: %w", fd, err)
	}
	listener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("descriptor %d is a socket of %s", fd, l.Addr().Network()), l.Close())
	}
	return listener, nil
}
