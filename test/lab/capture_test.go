package lab

import (
	"strings"
	"testing"
)

func TestWhenTCPDumpHasReadEverything(t *testing.T) {
	before := "tcpdump: listening on lo, link-type EN10MB (Ethernet), snapshot length 262144 bytes\n"
	tests := map[string]struct {
		answers []string
		want    string
	}{
		"no answer yet": {nil, "does not say"},
		"everything":    {[]string{"3 packets captured, 3 packets received by filter, 0 packets dropped by kernel"}, ""},
		"two are left":  {[]string{"1 packet captured, 3 packets received by filter, 0 packets dropped by kernel"}, "1 of 3"},
		"the first answer counts, since packets go on coming": {[]string{
			"1 packet captured, 3 packets received by filter, 0 packets dropped by kernel",
			"3 packets captured, 9 packets received by filter, 0 packets dropped by kernel",
		}, ""},
		"the kernel had no room": {[]string{"0 packets captured, 110 packets received by filter, 110 packets dropped by kernel"}, ""},
		"packets that came before the filter are never read": {[]string{
			"0 packets captured, 2 packets received by filter, 0 packets dropped by kernel",
			"1 packet captured, 3 packets received by filter, 0 packets dropped by kernel",
			"1 packet captured, 3 packets received by filter, 0 packets dropped by kernel",
			"1 packet captured, 3 packets received by filter, 0 packets dropped by kernel",
			"1 packet captured, 3 packets received by filter, 0 packets dropped by kernel",
			"1 packet captured, 3 packets received by filter, 0 packets dropped by kernel",
		}, ""},
		"it still reads": {[]string{
			"0 packets captured, 5 packets received by filter, 0 packets dropped by kernel",
			"0 packets captured, 5 packets received by filter, 0 packets dropped by kernel",
			"0 packets captured, 5 packets received by filter, 0 packets dropped by kernel",
			"0 packets captured, 5 packets received by filter, 0 packets dropped by kernel",
			"1 packet captured, 5 packets received by filter, 0 packets dropped by kernel",
		}, "1 of 5"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := caughtUp(before + strings.Join(tt.answers, "\n"))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
