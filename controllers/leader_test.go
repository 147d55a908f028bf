package controllers_test

import (
	"fmt"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers"
)

func TestTheNextLeaderGoesOn(t *testing.T) {
	w := &world{T: t, ctx: t.Context(), Client: cluster.Client}
	w.wipe()
	elect := func(o *controllers.Options) { o.LeaderElect = true }
	first := w.controller(elect)
	w.pool("p", "10.0.0.0/16")
	w.node("n1", "192.168.0.1", want("p", 1, 0))
	w.waitBlocks("of the first leader", "10.0.0.0/26 n1")
	holder := w.leader()
	w.controller(elect)
	first()
	w.node("n2", "192.168.0.2", want("p", 1, 0))
	w.waitBlocks("of the second leader", "10.0.0.0/26 n1", "10.0.1.0/26 n2")
	if now := w.leader(); now == holder {
		t.Errorf("the leader is still %s", now)
	}
}

func (w *world) leader() string {
	w.Helper()
	var l coordinationv1.Lease
	w.must(w.Get(w.ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: controllers.LeaderLease}, &l))
	return fmt.Sprint(*l.Spec.HolderIdentity)
}
