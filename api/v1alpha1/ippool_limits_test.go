package v1alpha1

import "testing"

func TestNamespaceLimit(t *testing.T) {
	s := &IPPoolSpec{NamespaceLimits: []NamespaceLimit{{Namespace: OtherNamespaces, Addresses: 5}, {Namespace: "big", Addresses: 100}, {Namespace: "out"}}}
	for namespace, want := range map[string]int{"big": 100, "out": 0, "any": 5} {
		if most, limited := s.NamespaceLimit(namespace); !limited || most != want {
			t.Errorf("%s: %d, %v", namespace, most, limited)
		}
	}
	s.NamespaceLimits = s.NamespaceLimits[1:]
	if most, limited := s.NamespaceLimit("any"); limited {
		t.Errorf("nobody limits the namespace, and it may have %d", most)
	}
}
