package trust_test

import (
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// lentTo is a patch that lends a range of a block to a node.
func lentTo(cidr, node string, granted bool) string {
	return fmt.Sprintf(`{"spec":{"lent":[{"cidr":%q,"node":%q,"fixed":true,"granted":%t,"id":"a-1.5.0"}]}}`, cidr, node, granted)
}

// TestOnlyTheControllerLends: who has a range of another node's block is the controller's word alone, and a loan that is granted stays so.
func TestOnlyTheControllerLends(t *testing.T) {
	w := begin(t)
	ctx := t.Context()
	b := block("10.250.0.0/26", "any")
	create(ctx, t, w.controller, b)
	patch := func(c client.Client, text string) error {
		return c.Patch(ctx, block("10.250.0.0/26", "any"), client.RawPatch(merge, []byte(text)))
	}
	check(t, patch(w.Client, lentTo("10.250.0.5/32", "other", false)), "Only Causeway's controller changes the spec of an IPBlock")
	check(t, patch(w.own, lentTo("10.250.0.5/32", "own", false)), noRight)
	for _, cidr := range []string{"10.250.0.64/32", "10.250.0.0/26", "10.250.0.0/25"} {
		check(t, patch(w.controller, lentTo(cidr, "other", false)), "a part of its block, and not the whole of it")
	}
	check(t, patch(w.controller, lentTo("10.250.0.5", "other", false)), "not a CIDR in canonical form")
	check(t, patch(w.controller, lentTo("10.250.0.5/32", "other", false)), "")
	check(t, patch(w.controller, lentTo("10.250.0.5/32", "own", false)), "a loan keeps its cidr and node")
	check(t, patch(w.controller, lentTo("10.250.0.6/32", "other", false)), "a loan keeps its cidr and node")
	check(t, patch(w.controller, lentTo("10.250.0.5/32", "other", true)), "")
	check(t, patch(w.controller, lentTo("10.250.0.5/32", "other", false)), "once granted it stays so until it ends")
	check(t, patch(w.Client, `{"spec":{"lent":null}}`), "Only Causeway's controller changes the spec of an IPBlock")
	check(t, patch(w.controller, `{"spec":{"lent":null}}`), "")
}
