package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockNode keeps a second agent off the node: two of them would give one address to two pods. The lock ends with the
// process, however it ends.
func lockNode(socket string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return nil, fmt.Errorf("make the socket's folder: %w", err)
	}
	path := socket + ".lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the node's lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("another causeway-agent runs on this node: it holds %s. A node has one agent; end the other one first", path), f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("take the node's lock %s: %w", path, err), f.Close())
	}
	return f, nil
}
