package drain

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// units are what a pace may be counted by.
var units = map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour}

// ParsePace reads how many pods may be evicted in which time, like 30/min, and returns the time between two evictions.
func ParsePace(text string) (time.Duration, error) {
	count, unit, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || units[unit] == 0 {
		return 0, fmt.Errorf("%q is no pace: write a number of pods and s, min or h, like 30/min", text)
	}
	return units[unit] / time.Duration(n), nil
}
