package gobgp

import (
	"testing"
	"time"
)

func TestLastFault(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	var l lastFault
	expect := func(step, words string) {
		t.Helper()
		if l.words != words {
			t.Errorf("%s: the fault is %q, not %q", step, l.words, words)
		}
	}
	refused, wrongAS, password := fault{words: "refused"}, fault{"wrong AS", true}, fault{"password", true}
	l.note(refused, at(0))
	expect("the first one", "refused")
	l.note(wrongAS, at(time.Second))
	l.note(refused, at(5*time.Minute))
	expect("while BIRD waits after an error", "wrong AS")
	l.note(password, at(5*time.Minute))
	l.note(refused, at(10*time.Minute))
	expect("another cause", "password")
	l.note(refused, at(11*time.Minute))
	expect("the cause has not come again", "refused")

	l.note(wrongAS, at(12*time.Minute))
	l.established(at(12*time.Minute + time.Second))
	expect("established", "wrong AS")
	l.note(refused, at(12*time.Minute+2*time.Second))
	expect("ended after it was established", "refused")

	l.note(wrongAS, at(13*time.Minute))
	l.established(at(13*time.Minute - time.Second))
	l.note(refused, at(13*time.Minute+time.Second))
	expect("the same connection was established and then had a conclusive end", "wrong AS")
}

func TestConclusive(t *testing.T) {
	t.Parallel()
	for _, n := range []struct {
		code, sub byte
		want      bool
	}{
		{2, 2, true}, {2, 6, true}, {3, 3, true}, {4, 0, false}, {6, 1, true}, {6, 2, true}, {6, 3, true}, {6, 5, false}, {6, 7, false},
		{6, 10, false},
	} {
		if got := conclusive(n.code, n.sub); got != n.want {
			t.Errorf("NOTIFICATION %d/%d: conclusive is %v", n.code, n.sub, got)
		}
	}
}
