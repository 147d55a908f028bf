package objects

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Connection is a client with the caller's own rights.
type Connection struct {
	client.Client
	// Config is what other clients are made from.
	Config *rest.Config

	clock *clock
}

// Connect makes a client. It asks the API server nothing yet.
func Connect(config *rest.Config) (*Connection, error) {
	known, err := scheme()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	// One command asks once; there is no loop to slow down.
	config.QPS = -1
	seen := &clock{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return observer{next, seen} })
	c, err := client.New(config, client.Options{Scheme: known})
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	return &Connection{Client: c, Config: config, clock: seen}, nil
}

// scheme holds all kinds that are read.
func scheme() (*runtime.Scheme, error) {
	out := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, coordinationv1.AddToScheme, appsv1.AddToScheme,
		policyv1.AddToScheme} {
		if err := add(out); err != nil {
			return nil, fmt.Errorf("prepare the client: %w", err)
		}
	}
	return out, nil
}

// Now is the time by the API server's clock, as far as its answers tell.
func (c *Connection) Now() time.Time { return time.Now().Add(c.clock.ahead()) }

// Version is the API server's.
func (c *Connection) Version() (string, error) {
	d, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		return "", fmt.Errorf("prepare to ask for the API server's version: %w", err)
	}
	v, err := d.ServerVersion()
	if err != nil {
		return "", fmt.Errorf("ask the API server for its version: %w", err)
	}
	return v.GitVersion, nil
}

// clock knows how far the API server's clock is ahead of this machine's.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

// near is a difference that the Date header, which counts seconds, can't tell from none.
const near = 2 * time.Second

func (c *clock) ahead() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

func (c *clock) set(date string, now time.Time) {
	there, err := http.ParseTime(date)
	if err != nil {
		return
	}
	offset := there.Sub(now)
	if offset.Abs() < near {
		offset = 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = offset
}

// observer reads the date of every answer.
type observer struct {
	next  http.RoundTripper
	clock *clock
}

func (o observer) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := o.next.RoundTrip(r)
	if err == nil {
		o.clock.set(answer.Header.Get("Date"), time.Now())
	}
	return answer, err
}

// Look lists kinds, with the API server's time and version.
func (c *Connection) Look(ctx context.Context, kinds ...Kind) (*Cluster, error) {
	server, err := c.Version()
	if err != nil {
		return nil, err
	}
	out, err := Look(ctx, c.Client, kinds...)
	if err != nil {
		return nil, err
	}
	out.Server, out.Now = server, c.Now()
	return out, nil
}
