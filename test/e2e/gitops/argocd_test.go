package gitops_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

// awaitArgo waits until Argo CD says of an object what is wanted. The object is named "resource name" or "resource name -n namespace", and
// its message contains a text.
func awaitArgo(t *testing.T, l *lab.Lab, object, health, text string) {
	t.Helper()
	l.Eventually(t, lab.Settle, fmt.Sprintf("Argo CD says that %s is %s", object, health), func() error {
		got, message, err := argo(t, l, object)
		if err == nil && (got != health || !strings.Contains(message, text)) {
			err = fmt.Errorf("it is %q: %q; want %s with %q", got, message, health, text)
		}
		return err
	})
}

// argo asks Argo CD's library for the health of an object as it is now, with the settings that docs/gitops.md tells people to add.
func argo(t *testing.T, l *lab.Lab, object string) (health, message string, err error) {
	t.Helper()
	c := l.Command(t.Context(), append([]string{l.Bin("kubectl"), "--kubeconfig=" + l.AdminKubeconfig(), "get", "-o", "json"}, strings.Fields(object)...)...)
	text, err := c.Output()
	if err != nil {
		return "", "", err
	}
	c = l.Command(t.Context(), l.Bin("argocd-health"), l.Repo+"/config/argocd/argocd-cm.yaml")
	c.Stdin = strings.NewReader(text)
	out, err := c.Output()
	if err != nil {
		return "", "", err
	}
	health, message, _ = strings.Cut(strings.TrimRight(out, "\n"), "\t")
	return health, message, nil
}
