// Package tools_test uses the kubectl plugin against a whole cluster, as a person does: `kubectl causeway ...`.
package tools_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// plugin runs `kubectl causeway` as the administrator and returns what it printed and its exit code.
func plugin(ctx context.Context, l *lab.Lab, args ...string) (string, int, error) {
	c := l.Command(ctx, append([]string{l.Bin("kubectl"), "causeway"}, args...)...)
	c.Env = []string{"KUBECONFIG=" + l.AdminKubeconfig(), "PATH=" + l.Bin("") + ":" + os.Getenv("PATH"), "HOME=" + l.Dir}
	out, err := c.CombinedOutput()
	if exit := (*lab.ExitError)(nil); errors.As(err, &exit) {
		return out, exit.Code, nil
	}
	return out, 0, err
}

// says is nil when a command ends with this code and prints all of these texts.
func says(ctx context.Context, l *lab.Lab, code int, args []string, texts ...string) error {
	out, got, err := plugin(ctx, l, args...)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			return fmt.Errorf("kubectl causeway %v does not say %q (exit code %d):\n%s", args, text, got, out)
		}
	}
	if got != code {
		return fmt.Errorf("kubectl causeway %v ends with exit code %d, want %d:\n%s", args, got, code, out)
	}
	return nil
}

// await waits until a command says all of these texts, and prints the whole answer to the test's log: docs quote from it.
func await(t *testing.T, l *lab.Lab, code int, args []string, texts ...string) {
	t.Helper()
	l.Eventually(t, lab.Settle, fmt.Sprintf("kubectl causeway %v says %q", args, texts), func() error {
		return says(t.Context(), l, code, args, texts...)
	})
	out, _, err := plugin(t.Context(), l, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("$ kubectl causeway %s\n%s", strings.Join(args, " "), out)
}

// decoded runs a command with -o json and reads its answer.
func decoded[T any](t *testing.T, l *lab.Lab, args ...string) (value T) {
	t.Helper()
	out, _, err := plugin(t.Context(), l, append(args, "-o", "json")...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &value)
	}
	if err != nil {
		t.Fatalf("kubectl causeway %v: %v:\n%s", args, err, out)
	}
	return value
}

func pool(name, cidr string) *v1alpha1.IPPool {
	return &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.IPPoolSpec{CIDR: cidr, Encapsulation: v1alpha1.EncapsulationVXLANCrossSubnet}}
}
