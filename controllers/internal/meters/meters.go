// Package meters registers metrics. Several managers in one process, as in tests, share them.
package meters

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Register adds a collector, or returns the one that another manager in the same process has added. It does nothing after an
// earlier error.
func Register[C prometheus.Collector](r prometheus.Registerer, c C, earlier error) (C, error) {
	if earlier != nil {
		return c, earlier
	}
	err := r.Register(c)
	var have prometheus.AlreadyRegisteredError
	if errors.As(err, &have) {
		if existing, ok := have.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("register metrics: %w", err)
	}
	return c, nil
}
