package linux

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// set makes the planned settings. One that was right since the last resync is not looked at again.
func (a *Applier) set(settings []plan.Sysctl, r *report) {
	for _, s := range settings {
		if a.settings[s.Key] == s.Value {
			continue
		}
		path := filepath.Join("/proc/sys", s.Key)
		have, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && s.Optional:
			continue
		case err != nil:
			r.fail(err, "read sysctl %s", s.Key)
			continue
		case strings.TrimSpace(string(have)) != s.Value:
			if err := os.WriteFile(path, []byte(s.Value), 0); err != nil {
				r.fail(err, "set sysctl %s", s)
				continue
			}
			r.Changes++
		}
		a.settings[s.Key] = s.Value
	}
}
