package bgp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/loops"
)

const (
	// passwordWithin is how long a plan waits for Secrets that were never read before.
	passwordWithin = 2 * time.Second
	// The pauses between attempts to follow a Secret.
	secretPause, longestSecretPause = time.Second, 30 * time.Second
)

// Secrets reads Secrets of one namespace, each by its name. It never lists them.
type Secrets interface {
	Get(ctx context.Context, name string) (*corev1.Secret, error)
	// Watch tells of changes after a resource version, and of all there is for "".
	Watch(ctx context.Context, name, resourceVersion string) (watch.Interface, error)
}

// Passwords follows the Secrets that this node's sessions refer to, and no others.
type Passwords struct {
	secrets Secrets
	log     logr.Logger
	workers sync.WaitGroup

	mu       sync.Mutex
	followed map[string]*secret
}

// secret is one that is followed.
type secret struct {
	stop  context.CancelFunc
	known chan struct{} // closed when the API server has said for the first time what it is
	// values are nil where there is no such Secret.
	values map[string]string
}

// NewPasswords returns passwords of nobody.
func NewPasswords(s Secrets, log logr.Logger) *Passwords {
	return &Passwords{secrets: s, log: log, followed: map[string]*secret{}}
}

// Read returns the values of Secrets. It follows these, and calls changed when one changes, until a call that names them no
// more or until the context ends. Where one was never read before, it waits a moment for it: to plan without it would end
// a session that an earlier agent left.
func (p *Passwords) Read(ctx context.Context, names []string, changed func()) (bgpplan.Passwords, error) {
	p.follow(ctx, names, changed)
	within, cancel := context.WithTimeout(ctx, passwordWithin)
	defer cancel()
	out := make(bgpplan.Passwords, len(names))
	for _, name := range names {
		p.mu.Lock()
		s := p.followed[name]
		p.mu.Unlock()
		select {
		case <-s.known:
		case <-within.Done():
			return nil, fmt.Errorf("wait for Secret %s/%s, which holds a BGP password: %w", v1alpha1.BGPNamespace, name, within.Err())
		}
		p.mu.Lock()
		if s.values != nil {
			out[name] = maps.Clone(s.values)
		}
		p.mu.Unlock()
	}
	return out, nil
}

// Wait waits until nothing is followed any more, after the context of Read has ended.
func (p *Passwords) Wait() { p.workers.Wait() }

// follow starts to follow what is new among the names, and stops what is not among them.
func (p *Passwords) follow(ctx context.Context, names []string, changed func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, s := range p.followed {
		if !slices.Contains(names, name) {
			s.stop()
			delete(p.followed, name)
		}
	}
	for _, name := range names {
		if p.followed[name] != nil {
			continue
		}
		own, stop := context.WithCancel(ctx)
		s := &secret{stop: stop, known: make(chan struct{})}
		p.followed[name] = s
		p.workers.Go(func() {
			defer stop()
			p.keep(own, name, s, changed)
		})
	}
}

// keep follows one Secret until the context ends. What was known of it stays while the API server is away.
func (p *Passwords) keep(ctx context.Context, name string, s *secret, changed func()) {
	pause := secretPause
	for ctx.Err() == nil {
		err := p.once(ctx, name, s, changed)
		if err == nil {
			pause = secretPause
		} else if ctx.Err() == nil {
			p.log.Info("Can't follow a Secret with a BGP password; will try again", "secret", v1alpha1.BGPNamespace+"/"+name, "reason", err.Error())
		}
		if !loops.Sleep(ctx, pause) {
			return
		}
		if err != nil {
			pause = min(2*pause, longestSecretPause)
		}
	}
}

// once gets a Secret and follows it until its watch ends.
func (p *Passwords) once(ctx context.Context, name string, s *secret, changed func()) error {
	found, err := p.secrets.Get(ctx, name)
	version := ""
	switch {
	case err == nil:
		version = found.ResourceVersion
		p.set(s, valuesOf(found), changed)
	case apierrors.IsNotFound(err):
		p.set(s, nil, changed)
	case apierrors.IsForbidden(err):
		p.setUnknown(s, changed)
		return err
	default:
		return err
	}
	watcher, err := p.secrets.Watch(ctx, name, version)
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-watcher.ResultChan():
			if !open {
				return nil // the API server ends every watch after some minutes
			}
			switch now, ok := event.Object.(*corev1.Secret); {
			case event.Type == watch.Error:
				return apierrors.FromObject(event.Object)
			case ok && event.Type == watch.Deleted:
				p.set(s, nil, changed)
			case ok && event.Type != watch.Bookmark:
				p.set(s, valuesOf(now), changed)
			}
		}
	}
}

func valuesOf(s *corev1.Secret) map[string]string {
	values := make(map[string]string, len(s.Data))
	for key, value := range s.Data {
		values[key] = string(value)
	}
	return values
}

func (p *Passwords) set(s *secret, values map[string]string, changed func()) {
	p.mu.Lock()
	first := !s.isKnown()
	same := (s.values == nil) == (values == nil) && maps.Equal(s.values, values)
	s.values = values
	if first {
		close(s.known)
	}
	p.mu.Unlock()
	if first || !same {
		changed()
	}
}

// setUnknown takes a Secret that this agent may not read for one that does not exist, unless it was read before.
func (p *Passwords) setUnknown(s *secret, changed func()) {
	p.mu.Lock()
	first := !s.isKnown()
	p.mu.Unlock()
	if first {
		p.set(s, nil, changed)
	}
}

func (s *secret) isKnown() bool {
	select {
	case <-s.known:
		return true
	default:
		return false
	}
}

// APISecrets reads the Secrets of the namespace causeway-bgp.
type APISecrets struct {
	Client client.WithWatch
}

// Get implements Secrets.
func (a APISecrets) Get(ctx context.Context, name string) (*corev1.Secret, error) {
	var s corev1.Secret
	err := a.Client.Get(ctx, client.ObjectKey{Namespace: v1alpha1.BGPNamespace, Name: name}, &s)
	return &s, err
}

// Watch implements Secrets.
func (a APISecrets) Watch(ctx context.Context, name, resourceVersion string) (watch.Interface, error) {
	return a.Client.Watch(ctx, &corev1.SecretList{}, &client.ListOptions{
		Namespace: v1alpha1.BGPNamespace, FieldSelector: fields.OneTermEqualSelector("metadata.name", name),
		Raw: &metav1.ListOptions{ResourceVersion: resourceVersion},
	})
}
