package addresses

// Stale are the records that can be deleted without harm: their pod is gone, and an agent that still has the pod's link
// writes the record again before it gives the address to anybody else.
func (a Account) Stale() []Record {
	var out []Record
	for _, d := range a.Disagreements {
		if d.Stale != nil {
			out = append(out, *d.Stale)
		}
	}
	return out
}
