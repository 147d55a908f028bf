// Package failpoint lets a test end a program at a named step, as if it were killed there. Without a test it does nothing.
package failpoint

import "sync/atomic"

var hook atomic.Pointer[func(step string)]

// At says that a step has been reached. A test's function may end the goroutine there.
func At(step string) {
	if f := hook.Load(); f != nil {
		(*f)(step)
	}
}

// Set has f called at every step until the returned function is called.
func Set(f func(step string)) (restore func()) {
	hook.Store(&f)
	return func() { hook.Store(nil) }
}
