// Package version says what a binary of Causeway was built from. It takes the linker's word for it, and gives out text. The
// CNI plugin has it too, which starts for every call: so it imports next to nothing.
package version

import (
	"cmp"
	"runtime"
)

// tag and commit are set by the linker where the build knows them (make build, make image).
var tag, commit string

// Tag is the version's name, such as v0.3.0, or "devel".
func Tag() string { return cmp.Or(tag, "devel") }

// Commit is the commit that was built, or "unknown".
func Commit() string { return cmp.Or(commit, "unknown") }

// String is the line that --version prints after the program's name.
func String() string {
	return Tag() + " (commit " + Commit() + ", " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
}
