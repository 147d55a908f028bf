package addressbook

import (
	"fmt"
	"maps"
	"slices"
)

// NamespaceLimits say how many addresses of a pool one namespace may have.
type NamespaceLimits struct {
	// Named is the limit of each namespace that has one of its own, Others that of each other one; nil for no limit.
	Named  map[string]int
	Others *int
	// Reached are the namespaces that have so many in the whole cluster, sorted.
	Reached []string
}

// Equal says whether two limits are the same. Nil is no limit at all.
func (l *NamespaceLimits) Equal(o *NamespaceLimits) bool {
	if l == nil || o == nil {
		return l == o
	}
	others := l.Others == o.Others || l.Others != nil && o.Others != nil && *l.Others == *o.Others
	return others && maps.Equal(l.Named, o.Named) && slices.Equal(l.Reached, o.Reached)
}

// of returns the limit of one namespace, and reports false where there is none.
func (l *NamespaceLimits) of(namespace string) (int, bool) {
	if l == nil {
		return 0, false
	}
	if most, ok := l.Named[namespace]; ok {
		return most, true
	}
	if l.Others == nil {
		return 0, false
	}
	return *l.Others, true
}

// NamespaceError says that a namespace has as many addresses of a pool as it may have.
type NamespaceError struct {
	Pool, Namespace string
	Most            int
}

func (e *NamespaceError) Error() string {
	return fmt.Sprintf("namespace %s may have %d addresses of IPPool %s and has them", e.Namespace, e.Most, e.Pool)
}

// barred returns why a namespace gets no other address of a pool, or nil: the cluster's count has reached its limit, or that of this
// node alone has, which nobody needs to be asked about.
func (b *Book) barred(p Pool, namespace string) *NamespaceError {
	most, limited := p.Namespaces.of(namespace)
	if !limited {
		return nil
	}
	_, reached := slices.BinarySearch(p.Namespaces.Reached, namespace)
	if !reached && b.has(p.Name, namespace) < most {
		return nil
	}
	return &NamespaceError{Pool: p.Name, Namespace: namespace, Most: most}
}

// has returns how many addresses of a pool the node's pods of a namespace have.
func (b *Book) has(pool, namespace string) int {
	n := 0
	for _, e := range b.endpoints {
		if e.Namespace != namespace {
			continue
		}
		for _, name := range e.Pools {
			if name == pool {
				n++
			}
		}
	}
	return n
}
