package gitops_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/test/lab"
)

// source is what Flux fetches from: it offers archives of manifests by HTTP, and names the newest in an ExternalArtifact, as a
// source-controller of somebody else does.
type source struct {
	lab    *lab.Lab
	server *httptest.Server

	mu       sync.Mutex
	archives map[string][]byte // by path
}

func newSource(t *testing.T, l *lab.Lab) *source {
	t.Helper()
	s := &source{lab: l, archives: map[string][]byte{}}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	must(t, l.Client.Create(t.Context(), s.object()))
	return s
}

func (s *source) object() *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"namespace": namespace, "name": "network"}}}
	o.SetAPIVersion("source.toolkit.fluxcd.io/v1")
	o.SetKind("ExternalArtifact")
	return o
}

func (s *source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	archive, ok := s.archives[r.URL.Path]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(archive) // Flux reports what it did not get.
}

// publish offers manifests, by file, as the newest revision, and returns its name.
func (s *source) publish(t *testing.T, manifests map[string]string) string {
	t.Helper()
	archive := pack(t, manifests)
	sum := fmt.Sprintf("%x", sha256.Sum256(archive))
	path := "/" + sum + ".tar.gz"
	s.mu.Lock()
	s.archives[path] = archive
	s.mu.Unlock()

	o := s.object()
	must(t, s.lab.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o))
	revision := "main@sha256:" + sum
	now := time.Now().UTC().Format(time.RFC3339)
	o.Object["status"] = map[string]any{
		"artifact": map[string]any{"digest": "sha256:" + sum, "path": path, "url": s.server.URL + path, "revision": revision, "lastUpdateTime": now},
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "It is stored.",
			"lastTransitionTime": now, "observedGeneration": o.GetGeneration()}},
	}
	must(t, s.lab.Client.Status().Update(t.Context(), o))
	return revision
}

func pack(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for name, text := range files {
		must(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}))
		_, err := archive.Write([]byte(text))
		must(t, err)
	}
	must(t, archive.Close())
	must(t, zipped.Close())
	return out.Bytes()
}
