package simulation

// Shrink returns the fewest steps that it finds which still fail (delta debugging: leave out ever smaller parts). It asks fails
// at most so many times.
func Shrink(list []Step, most int, fails func([]Step) bool) []Step {
	for part := (len(list) + 1) / 2; part >= 1; {
		smaller := false
		for at := 0; at < len(list) && most > 0; {
			without := append(append([]Step(nil), list[:at]...), list[min(at+part, len(list)):]...)
			most--
			if fails(without) {
				list, smaller = without, true
				continue
			}
			at += part
		}
		switch {
		case most <= 0:
			return list
		case part > 1:
			part = (part + 1) / 2
		case !smaller:
			return list
		}
	}
	return list
}
