package controllers

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// twoEndpoints is a list as the API server writes it.
const twoEndpoints = `{"apiVersion":"causeway.dev/v1alpha1","items":[
{"apiVersion":"causeway.dev/v1alpha1","kind":"WorkloadEndpoint","metadata":{"managedFields":[{"fieldsV1":{"f:spec":{"f:node":{}}}}],"name":"a-1","namespace":"x","resourceVersion":"5"},
 "spec":{"addresses":["10.0.0.5/32","fd00::5/128"],"containerInterface":"eth0","mac":"02:00:00:00:00:01","node":"n1","pod":"a","pools":["four","six"]}},
{"metadata":{"name":"b-1","namespace":"y"},"spec":{"addresses":["10.0.0.6/32"],"node":"n2","pools":["four"]}}],
"kind":"WorkloadEndpointList","metadata":{"resourceVersion":"17"}}`

func TestAListOfEndpointsIsReadAsItComes(t *testing.T) {
	for _, text := range []string{twoEndpoints, `{"metadata":{"resourceVersion":"17"},` + strings.Replace(twoEndpoints, `,
"kind":"WorkloadEndpointList","metadata":{"resourceVersion":"17"}`, "", 1)[1:]} {
		var told []string
		version, err := readEndpoints(iotest.OneByteReader(strings.NewReader(text)), func(w *v1alpha1.WorkloadEndpoint) {
			told = append(told, fmt.Sprint(w.Namespace, "/", w.Name, " ", w.Spec.Node, " ", w.Spec.Addresses, " ", w.Spec.Pools, " ", w.Spec.Pod, " ", w.Spec.ContainerInterface))
		})
		want := []string{"x/a-1 n1 [10.0.0.5/32 fd00::5/128] [four six] a eth0", "y/b-1 n2 [10.0.0.6/32] [four]  "}
		if err != nil || version != "17" || !slices.Equal(told, want) {
			t.Errorf("version %s, %v, of %s:\n%q", version, err, text, told)
		}
	}
}

// TestAPartOfAListIsNone: wherever the API server or a proxy breaks off, and whatever it says in the place of a list.
func TestAPartOfAListIsNone(t *testing.T) {
	ignore := func(*v1alpha1.WorkloadEndpoint) {}
	for n := range len(twoEndpoints) {
		if _, err := readEndpoints(strings.NewReader(twoEndpoints[:n]), ignore); err == nil {
			t.Errorf("taken for a list: %s", twoEndpoints[:n])
		}
	}
	broken := io.MultiReader(strings.NewReader(twoEndpoints[:100]), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := readEndpoints(broken, ignore); err == nil {
		t.Error("a connection that breaks off is taken for the end of a list")
	}
	for _, text := range []string{`[]`, `{}`, `{"items":[]}`, `{"items":{},"metadata":{"resourceVersion":"1"}}`, `{"items":[],"metadata":{"resourceVersion":"1","continue":"x"}}`} {
		if _, err := readEndpoints(strings.NewReader(text), ignore); err == nil {
			t.Errorf("taken for a list: %s", text)
		}
	}
}

// BenchmarkReadEndpoints reads records like those of a large cluster.
func BenchmarkReadEndpoints(b *testing.B) {
	fields := `{".":{},"f:addresses":{},"f:containerID":{},"f:containerInterface":{},"f:interface":{},"f:mac":{},"f:network":{},"f:networkNamespace":{},"f:node":{},"f:pod":{},"f:podUID":{},"f:pools":{}}`
	one := fmt.Sprintf(`{"apiVersion":"causeway.dev/v1alpha1","kind":"WorkloadEndpoint","metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","generation":1,`+
		`"managedFields":[{"apiVersion":"causeway.dev/v1alpha1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":%s},"manager":"causeway-agent","operation":"Update","time":"2026-01-01T00:00:00Z"}],`+
		`"name":"node-00000-pod-0-2f116fda164","namespace":"pods","resourceVersion":"123456","uid":"152cd3ed-45d0-4282-935b-a78d5eca0056"},"spec":{"addresses":["10.128.0.1/32"],`+
		`"containerID":"%064d","containerInterface":"eth0","interface":"cw2f116fda164","mac":"be:7d:71:b2:56:0f","network":"causeway","networkNamespace":"/var/run/netns/cni-1",`+
		`"networks":"10.128.0.1/32","node":"node-00000","pod":"node-00000-pod-0","podUID":"%032d","pools":["scale"]}}`, fields, 1, 1)
	const items = 1000
	text := `{"items":[` + strings.TrimSuffix(strings.Repeat(one+",", items), ",") + `],"metadata":{"resourceVersion":"1"}}`
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		read := 0
		if _, err := readEndpoints(strings.NewReader(text), func(w *v1alpha1.WorkloadEndpoint) { read += len(w.Spec.Addresses) }); err != nil || read != items {
			b.Fatal(read, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*items), "us/endpoint")
}
