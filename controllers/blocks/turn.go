package blocks

// turn is a lock that is held while requests are under way. It is a channel of one place, so that a simulation (testing/synctest)
// can tell that somebody waits for it.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// Lock waits for the turn.
func (t turn) Lock() { t <- struct{}{} }

// Unlock ends it.
func (t turn) Unlock() { <-t }
