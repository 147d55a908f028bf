// Package gitops_test applies Causeway's objects from an archive with Flux's real kustomize-controller, and asks Argo CD's library for
// their health, in each state that they come into.
package gitops_test

import (
	"os"
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
