package report

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/loops"
)

const (
	leaseDuration = 40 * time.Second
	leaseRenewal  = 10 * time.Second
)

// Lease shows that the agent is alive. The Lease stays when the agent ends: pods outlive their agent.
type Lease struct {
	s       Settings
	healthy func() error // why the agent does not work, if so: its lease runs out then

	known *coordinationv1.Lease // as the API server last returned it

	mu      sync.Mutex
	renewed time.Time
}

// NewLease returns the keeper of an agent's lease. An agent that is not healthy does not renew it.
func NewLease(s Settings, healthy func() error) *Lease {
	if s.Random == nil {
		s.Random = rand.Float64
	}
	return &Lease{s: s, healthy: healthy}
}

// Renewed returns when the API server last took a renewal.
func (l *Lease) Renewed() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed
}

// Run renews the lease until the context ends.
func (l *Lease) Run(ctx context.Context) {
	failed := false
	for {
		err := l.healthy()
		if err == nil {
			within, cancel := context.WithTimeout(ctx, leaseRenewal)
			err = l.renew(within)
			cancel()
		}
		if err != nil && ctx.Err() == nil && !failed {
			l.s.Log.Error(err, "Can't renew the agent's lease; if this lasts, the node is reported as silent")
		}
		failed = err != nil
		// Agents that were started together must not write together for ever.
		if !loops.Sleep(ctx, leaseRenewal+time.Duration(l.s.Random()*float64(leaseRenewal/20))) {
			return
		}
	}
}

// renew writes the lease as it was last seen, and reads it only where somebody else has changed it.
func (l *Lease) renew(ctx context.Context) error {
	err := l.write(ctx)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
		l.known = nil
		err = l.write(ctx)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.renewed = time.Now()
	l.mu.Unlock()
	return nil
}

func (l *Lease) write(ctx context.Context) error {
	name := v1alpha1.AgentLeasePrefix + l.s.Node
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: name}}
	if l.known != nil {
		lease = l.known.DeepCopy()
	} else if err := l.s.Client.Get(ctx, client.ObjectKeyFromObject(lease), lease); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get lease %s: %w", name, err)
	}
	seconds, now := int32(leaseDuration/time.Second), metav1.NowMicro()
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &l.s.Node, &seconds, &now
	var err error
	if lease.ResourceVersion == "" {
		err = l.s.Client.Create(ctx, lease)
	} else {
		err = l.s.Client.Update(ctx, lease)
	}
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", name, err)
	}
	l.known = lease
	return nil
}
