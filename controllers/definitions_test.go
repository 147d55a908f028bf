package controllers_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers"
)

// The API server serves kinds a moment after they are defined, one by one: the controller starts once it serves all.
func TestWaitForDefinitions(t *testing.T) {
	real := cluster.As("causeway-controller")
	if err := controllers.WaitForDefinitions(t.Context(), real, time.Minute, logr.Discard()); err != nil {
		t.Errorf("with all definitions there: %v", err)
	}
	some := &metav1.APIResourceList{GroupVersion: v1alpha1.GroupVersion.String(), APIResources: []metav1.APIResource{{Name: "ippools", Kind: "IPPool"}}}
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound})
			return
		}
		_ = json.NewEncoder(w).Encode(some)
	}))
	defer server.Close()
	err := controllers.WaitForDefinitions(t.Context(), &rest.Config{Host: server.URL}, 5*time.Second, logr.Discard())
	if err == nil {
		t.Fatal("the controller starts without the definitions")
	}
	if said := err.Error(); !strings.Contains(said, "IPBlock") || strings.Contains(said, "IPPool") || strings.Contains(said, "List") || !strings.Contains(said, "config/crd") {
		t.Errorf("it says %q", said)
	}
	if asked.Load() < 2 {
		t.Errorf("it asked %d times", asked.Load())
	}
}

// Who can't reach the API server is told so.
func TestWaitForDefinitionsWithoutAPIServer(t *testing.T) {
	err := controllers.WaitForDefinitions(t.Context(), &rest.Config{Host: "http://127.0.0.1:1"}, time.Second, logr.Discard())
	if err == nil || !strings.Contains(err.Error(), "ask the API server which kinds") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("it says %v", err)
	}
}
