package history

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

var one, other = []netip.Addr{netip.MustParseAddr("10.0.0.1")}, []netip.Addr{netip.MustParseAddr("10.0.0.2")}

func took(pod string, a []netip.Addr, from, to time.Duration) Call {
	return Call{Pod: pod, Addresses: a, Takes: true, From: from, To: to}
}

func gave(pod string, a []netip.Addr, from, to time.Duration) Call {
	return Call{Pod: pod, Addresses: a, From: from, To: to}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		calls []Call
		wrong string
	}{
		{"nothing happened", nil, ""},
		{"one after the other", []Call{took("a", one, 0, 1), gave("a", one, 2, 3), took("b", one, 4, 5)}, ""},
		{"two addresses", []Call{took("a", one, 0, 1), took("b", other, 0, 1)}, ""},
		{"taken while it is given back: an order exists", []Call{took("a", one, 0, 1), gave("a", one, 2, 9), took("b", one, 3, 4)}, ""},
		{"taken twice at the same time", []Call{took("a", one, 0, 5), took("b", one, 1, 4)}, "10.0.0.1 had two holders"},
		{"taken before it is given back", []Call{took("a", one, 0, 1), took("b", one, 2, 3), gave("a", one, 4, 5)}, "b took"},
		{"taken again after the second holder", []Call{took("a", one, 0, 1), gave("a", one, 2, 3), took("b", one, 4, 5), took("c", one, 6, 7)}, "c took"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &History{calls: c.calls}
			err := h.Check()
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %v, want %q", err, c.wrong)
			}
		})
	}
}

func TestRecording(t *testing.T) {
	var h History
	added := h.Add("a")
	failed := h.Add("b")
	_ = failed // its ADD never succeeds
	added(one)
	h.Del("a", one)()
	h.Add("c")(one)
	if err := h.Check(); err != nil || h.Len() != 3 {
		t.Errorf("%d calls: %v", h.Len(), err)
	}
	h.Add("d")(one)
	if h.Check() == nil {
		t.Error("an address that is taken twice goes unnoticed")
	}
}
