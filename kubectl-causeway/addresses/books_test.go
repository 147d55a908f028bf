package addresses_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
	"github.com/causeway-net/causeway/kubectl-causeway/windows"
)

// book is the JSON of an agent: blocks with the pods that have addresses in them, and addresses outside.
func book(t *testing.T, blocks string, outside ...string) (b windows.Book) {
	t.Helper()
	text := fmt.Sprintf(`{"blocks": [%s], "outside": [%s]}`, blocks, strings.Join(outside, ", "))
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return b
}

func ownBlocks(holders ...string) string {
	return fmt.Sprintf(`{"cidr": "10.0.0.0/26", "addresses": [%s]}, {"cidr": "fd00::/122", "addresses": [%s]}`,
		strings.Join(append(holders, `{"address": "10.0.0.0", "state": "kept"}`), ", "), has("fd00::1", "default/a"))
}

func has(address, pod string) string {
	return fmt.Sprintf(`{"address": %q, "state": "held", "pod": %q}`, address, pod)
}

func TestCheckBooks(t *testing.T) {
	for name, c := range map[string]struct {
		book windows.Book
		want []string
	}{
		"agrees": {book: book(t, ownBlocks(has("10.0.0.1", "default/a")))},
		"a pod that no record shows": {
			book: book(t, ownBlocks(has("10.0.0.1", "default/a"), has("10.0.0.9", "default/x"))),
			want: []string{"BookUnrecorded 10.0.0.9 On node node1, 10.0.0.9 belongs to pod default/x, and no record says so."},
		},
		"another pod": {
			book: book(t, ownBlocks(has("10.0.0.1", "default/x"))),
			want: []string{"BookUnrecorded 10.0.0.1 On node node1, 10.0.0.1 belongs to pod default/x"},
		},
		"a record that the agent does not know": {
			book: book(t, ownBlocks()),
			want: []string{"BookMisses 10.0.0.1 A record gives 10.0.0.1 to pod default/a on node node1"},
		},
		"outside of its blocks": {book: book(t, ownBlocks(), has("10.0.0.1", "default/a"))},
		"a block of another node": {
			book: book(t, ownBlocks(has("10.0.0.1", "default/a"))+`, {"cidr": "10.0.0.64/26", "addresses": []}`),
			want: []string{"BookBlock node1 10.0.0.64/26 The agent of node node1 gives out addresses of block 10.0.0.64/26"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := consistent()
			account := addresses.Check(cluster)
			account.CheckBooks(cluster, map[string]windows.Book{"node1": c.book})
			var got []string
			for _, d := range account.Disagreements {
				got = append(got, d.Reason+" "+d.Subject+" "+d.Message)
			}
			ok := len(got) == len(c.want) && account.Books == 1
			for i := range min(len(got), len(c.want)) {
				ok = ok && strings.HasPrefix(got[i], c.want[i])
			}
			if !ok {
				t.Errorf("got\n%q\nwant\n%q", got, c.want)
			}
		})
	}
}
