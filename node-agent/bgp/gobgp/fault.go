package gobgp

import "time"

// conclusiveFor is how long an error that names its cause is kept. After such an error BIRD closes every connection for up
// to 300 s (its "error wait time"), and only then says again what is wrong; "refused" and "closed" are no news until then.
const conclusiveFor = 6 * time.Minute

// fault is why a session is not up, in a sentence.
type fault struct {
	words string
	// conclusive says that the words name the cause, such as another AS number. What is not conclusive is only that there is
	// no connection, or that it has ended.
	conclusive bool
}

// lastFault is the fault to show: the last conclusive one, or else the last.
type lastFault struct {
	fault
	at time.Time
}

// note takes a new fault.
func (l *lastFault) note(f fault, now time.Time) {
	if f.conclusive || !l.conclusive || now.Sub(l.at) >= conclusiveFor {
		l.fault, l.at = f, now
	}
}

// established ends what a fault from before the connection was made keeps out; the words stay, as the last that went wrong.
func (l *lastFault) established(connected time.Time) {
	if l.at.Before(connected) {
		l.conclusive = false
	}
}

// conclusive says whether a NOTIFICATION (RFC 4271 section 4.5) names a cause that stays until somebody removes it. A hold
// timer that has expired, and a reset or collision (Cease 4 to 7, 9 and 10 of RFC 4486, RFC 8538 and RFC 9384), pass.
func conclusive(code, sub byte) bool {
	switch code {
	case 4:
		return false
	case 6:
		return sub >= 1 && sub <= 3 || sub == 8
	}
	return true
}
