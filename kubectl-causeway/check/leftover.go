package check

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// lasts is the annotation of a check's namespace that says how long the check may take.
	lasts = "causeway.dev/check-lasts"
	// label marks what checks make. Its value is kept where the pods are to stay.
	label, passing, kept = "causeway.dev/check", "true", "kept"
)

// longest is how long a check of some nodes may take, with ample room. It ends then, and so do its pods.
func longest(patience time.Duration, nodes int) time.Duration {
	return patience + cleanUp + 10*time.Minute + time.Duration(nodes)*time.Second
}

// sweep takes away what checks have left that were killed: namespaces that are older than their check may be. It returns their names.
// A namespace that must stay is one whose check may still run, or was to keep its pods.
func sweep(ctx context.Context, c client.Client, now time.Time) ([]string, error) {
	var there corev1.NamespaceList
	if err := c.List(ctx, &there, client.MatchingLabels{label: passing}); err != nil {
		return nil, fmt.Errorf("look for what earlier checks have left: %w", err)
	}
	var gone []string
	for i := range there.Items {
		n := &there.Items[i]
		most, err := time.ParseDuration(n.Annotations[lasts])
		if err != nil || n.DeletionTimestamp != nil || now.Sub(n.CreationTimestamp.Time) <= most {
			continue // without the annotation it is no check's of ours
		}
		err = c.Delete(ctx, n, client.Preconditions{UID: &n.UID})
		if client.IgnoreNotFound(err) != nil {
			return gone, fmt.Errorf("take away the namespace %s of an earlier check: %w", n.Name, err)
		}
		gone = append(gone, n.Name)
	}
	return gone, nil
}
