package main

import (
	"slices"
	"testing"
)

func TestEventsAreCountedHoweverTheyArrive(t *testing.T) {
	json := []byte(`{"type":"ADDED","object":{"a":"` + "\\n" + `"}}` + "\n" + `{"type":"BOOKMARK","object":{}}` + "\n" + `{"type":"DELETED"}` + "\n")
	framed := append([]byte{0, 0, 0, 9}, "k8s.ADDED"...)
	framed = append(append(framed, 0, 0, 0, 12), "k8s.BOOKMARK"...)
	framed = append(append(framed, 0, 0, 1, 0), make([]byte, 256)...)
	for _, tc := range []struct {
		name   string
		framed bool
		stream []byte
	}{{"lines", false, json}, {"frames", true, framed}} {
		t.Run(tc.name, func(t *testing.T) {
			for _, size := range []int{1, 3, 7, 64, len(tc.stream)} {
				var got []bool
				f := &frames{framed: tc.framed, tell: func(bookmark bool) { got = append(got, bookmark) }}
				for part := range slices.Chunk(tc.stream, size) {
					f.take(part)
				}
				if !slices.Equal(got, []bool{false, true, false}) {
					t.Errorf("in parts of %d bytes: %v", size, got)
				}
			}
		})
	}
}

func TestPathsNameResources(t *testing.T) {
	for path, want := range map[string]struct {
		resource string
		named    bool
	}{
		"/apis/causeway.dev/v1alpha1/ipblocks":                             {"ipblocks", false},
		"/apis/causeway.dev/v1alpha1/nodenetworks/n1/status":               {"nodenetworks/status", true},
		"/apis/causeway.dev/v1alpha1/namespaces/a/workloadendpoints":       {"workloadendpoints", false},
		"/apis/coordination.k8s.io/v1/namespaces/causeway-system/leases/a": {"leases", true},
		"/api/v1/namespaces":   {"namespaces", false},
		"/api/v1/namespaces/a": {"namespaces", true},
		"/api/v1/nodes/n1":     {"nodes", true},
	} {
		if resource, named := resourceOf(path); resource != want.resource || named != want.named {
			t.Errorf("%s: %s %v", path, resource, named)
		}
	}
}
