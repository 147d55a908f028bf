// Package rtnl reads lists from the kernel that may change while they are read.
package rtnl

import (
	"errors"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	tries = 20
	pause = time.Millisecond
)

// Whole calls a function that dumps a list by netlink, again where a change has interrupted it (NLM_F_DUMP_INTR of
// linux/netlink.h): links come and go in a storm of pods. After some tries it returns netlink.ErrDumpInterrupted with the
// list as it came.
func Whole[T any](list func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		out, err := list()
		if try == tries || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
		time.Sleep(pause)
	}
}
