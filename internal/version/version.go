// Package version says what a binary of Causeway was built from. It takes the linker's and the Go tool's word for it, and
// gives out text.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// tag and commit are set by the linker where the build knows them (make build, make image).
var tag, commit string

// Tag is the version's name, such as v0.3.0, or "devel".
func Tag() string { return cmp.Or(tag, "devel") }

// Commit is the commit that was built, or "unknown".
func Commit() string {
	found := commit
	if info, ok := debug.ReadBuildInfo(); ok && found == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				found = s.Value
			}
		}
	}
	return cmp.Or(found, "unknown")
}

// String is the line that --version prints after the program's name.
func String() string {
	return fmt.Sprintf("%s (commit %s, %s, %s/%s)", Tag(), Commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
