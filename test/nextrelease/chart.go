// Package nextrelease makes a version of the chart that comes after the one in the repository: its IPPools have a field that
// today's do not know.
package nextrelease

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Field is the new field of an IPPool's spec, a string.
const Field = "newField"

// Chart copies a chart into a folder, with the new field in it, and returns the path of the copy.
func Chart(ctx context.Context, chart, folder string) (string, error) {
	to := filepath.Join(folder, "causeway")
	if out, err := exec.CommandContext(ctx, "cp", "-rL", chart, to).CombinedOutput(); err != nil {
		return "", fmt.Errorf("copy the chart: %w: %s", err, out)
	}
	path := filepath.Join(to, "files/crd/causeway.dev_ippools.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	const mark = "              cidr:\n"
	if !strings.Contains(string(text), mark) {
		return "", fmt.Errorf("%s has no cidr in the spec where it is looked for", path)
	}
	text = []byte(strings.Replace(string(text), mark, "              "+Field+":\n                type: string\n"+mark, 1))
	return to, os.WriteFile(path, text, 0o644)
}
