package bgp

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// secretsAPI is a namespace of Secrets that counts who asks for what.
type secretsAPI struct {
	mu       sync.Mutex
	stored   map[string]*corev1.Secret
	err      error
	asked    map[string]int
	watchers map[string]*watch.FakeWatcher
}

func (a *secretsAPI) Get(_ context.Context, name string) (*corev1.Secret, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[name]++
	if a.err != nil {
		return nil, a.err
	}
	if s := a.stored[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

func (a *secretsAPI) Watch(_ context.Context, name, _ string) (watch.Interface, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := watch.NewFake()
	a.watchers[name] = w
	return w, nil
}

// event waits until somebody watches a Secret, and tells of a change.
func (a *secretsAPI) event(name string, kind watch.EventType, value string) {
	synctest.Wait()
	a.mu.Lock()
	w := a.watchers[name]
	a.mu.Unlock()
	w.Action(kind, keyed(name, value))
	synctest.Wait()
}

func keyed(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "7"}, Data: map[string][]byte{"key": []byte(value)}}
}

// passwords runs a test with passwords in a bubble of synctest. changes counts the calls of changed.
func passwords(t *testing.T, test func(t *testing.T, a *secretsAPI, read func(names ...string) (bgpplan.Passwords, error), changes *int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &secretsAPI{stored: map[string]*corev1.Secret{}, asked: map[string]int{}, watchers: map[string]*watch.FakeWatcher{}}
		p := NewPasswords(a, logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		defer p.Wait()
		defer cancel()
		changes := 0
		read := func(names ...string) (bgpplan.Passwords, error) {
			return p.Read(ctx, names, func() { changes++ })
		}
		test(t, a, read, &changes)
	})
}

func TestPasswordsFollowTheirSecrets(t *testing.T) {
	passwords(t, func(t *testing.T, a *secretsAPI, read func(...string) (bgpplan.Passwords, error), changes *int) {
		expect := func(want bgpplan.Passwords, names ...string) {
			t.Helper()
			got, err := read(names...)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("passwords are %v (%v), not %v", got, err, want)
			}
		}
		one := func(value string) bgpplan.Passwords { return bgpplan.Passwords{"one": {"key": value}} }
		a.stored["one"] = keyed("one", "first")
		expect(one("first"), "one", "two") // two does not exist
		before := *changes
		a.event("one", watch.Modified, "second")
		expect(one("second"), "one", "two")
		a.event("two", watch.Added, "other")
		expect(bgpplan.Passwords{"one": {"key": "second"}, "two": {"key": "other"}}, "one", "two")
		a.event("two", watch.Deleted, "other")
		a.event("one", watch.Modified, "second") // the same again
		expect(one("second"), "one")
		if *changes != before+3 {
			t.Errorf("three changes were told %d times", *changes-before)
		}
		if a.asked["one"] != 1 || a.asked["two"] != 1 || len(a.asked) != 2 {
			t.Errorf("asked for %v", a.asked)
		}
		expect(bgpplan.Passwords{})
		if synctest.Wait(); !a.watchers["one"].IsStopped() || !a.watchers["two"].IsStopped() {
			t.Error("a Secret that nobody uses is still followed")
		}
	})
}

// TestPasswordsSurviveTheAPIServer ends watches and refuses answers: what was known stays.
func TestPasswordsSurviveTheAPIServer(t *testing.T) {
	passwords(t, func(t *testing.T, a *secretsAPI, read func(...string) (bgpplan.Passwords, error), _ *int) {
		a.err = errors.New("away")
		if got, err := read("one"); err == nil {
			t.Fatalf("a plan could be made with %v, which would end the session", got)
		}
		a.mu.Lock()
		a.err, a.stored["one"] = nil, keyed("one", "first")
		a.mu.Unlock()
		time.Sleep(longestSecretPause)
		if got, err := read("one"); err != nil || got["one"]["key"] != "first" {
			t.Fatalf("the API server is back: %v, %v", got, err)
		}
		synctest.Wait()
		a.mu.Lock()
		a.err = errors.New("away again")
		a.watchers["one"].Stop()
		a.mu.Unlock()
		time.Sleep(longestSecretPause)
		if got, err := read("one"); err != nil || got["one"]["key"] != "first" {
			t.Errorf("the API server is away: %v, %v", got, err)
		}
	})
}

func TestForbiddenSecretIsMissing(t *testing.T) {
	passwords(t, func(t *testing.T, a *secretsAPI, read func(...string) (bgpplan.Passwords, error), _ *int) {
		a.err = apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "one", errors.New("no role"))
		if got, err := read("one"); err != nil || len(got) != 0 {
			t.Errorf("%v, %v: the other sessions must be planned", got, err)
		}
	})
}
