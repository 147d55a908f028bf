package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	leaseDuration = 40 * time.Second
	leaseRenewal  = 10 * time.Second
)

// keepLease shows that the agent is alive until the context ends. The Lease stays: pods outlive their agent.
func keepLease(ctx context.Context, c client.Client, node string, log logr.Logger) {
	failed := false
	for {
		within, cancel := context.WithTimeout(ctx, leaseRenewal)
		err := renewLease(within, c, node, time.Now())
		cancel()
		if err != nil && ctx.Err() == nil && !failed {
			log.Error(err, "Can't renew the agent's lease; if this lasts, the node is reported as silent")
		}
		failed = err != nil
		if !sleep(ctx, leaseRenewal) {
			return
		}
	}
}

func renewLease(ctx context.Context, c client.Client, node string, now time.Time) error {
	seconds := int32(leaseDuration / time.Second)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.AgentLeasePrefix + node}}
	err := c.Get(ctx, client.ObjectKeyFromObject(lease), lease)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return fmt.Errorf("get lease %s: %w", lease.Name, err)
	}
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &node, &seconds, &metav1.MicroTime{Time: now}
	if missing {
		err = c.Create(ctx, lease)
	} else {
		err = c.Update(ctx, lease)
	}
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", lease.Name, err)
	}
	return nil
}
