// Package parallel sends several requests to the API server at once, but not too many.
package parallel

import (
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"
)

// atOnce is the number of API requests in flight.
const atOnce = 8

// Each does something for each of a list, some at a time, and joins the errors.
func Each[T any](list []T, do func(T) error) error {
	var mu sync.Mutex
	var errs []error
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, item := range list {
		group.Go(func() error {
			if err := do(item); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	err := group.Wait()
	return errors.Join(append(errs, err)...)
}
