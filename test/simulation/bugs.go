package simulation

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Bug is a mistake that is planted between a real part and the world, to see that the simulation finds it.
type Bug int

// The planted bugs.
const (
	NoBug Bug = iota
	// SkipFinalizer creates blocks without a finalizer.
	SkipFinalizer
	// FreeBeforeUnlink calls links deleted before they are.
	FreeBeforeUnlink
	// ReuseBeforeRecordsEnd calls records deleted before they are.
	ReuseBeforeRecordsEnd
	// IgnoreTerminating hides from agents that a block is being deleted.
	IgnoreTerminating
	// TrustStaleList answers from the cache where the controller asks for the API server's word.
	TrustStaleList
	// GrantAtOnce grants loans before the lender has given the addresses up.
	GrantAtOnce
)

// String returns the bug's name.
func (b Bug) String() string {
	return [...]string{"none", "skip the finalizer", "free before unlink", "reuse before the record's end", "ignore a terminating block", "trust a stale list", "grant at once"}[b]
}

// created is what is sent to create an object.
func (b Bug) created(o client.Object) client.Object {
	if _, block := o.(*v1alpha1.IPBlock); block && b == SkipFinalizer {
		o.SetFinalizers(nil)
	}
	return o
}

// patched is what is sent to change a block.
func (b Bug) patched(o client.Object, data []byte) []byte {
	if _, block := o.(*v1alpha1.IPBlock); block && b == GrantAtOnce {
		return bytes.ReplaceAll(data, []byte(`"granted":false`), []byte(`"granted":true`))
	}
	return data
}

// shown is what a watch shows.
func (b Bug) shown(p *process, o client.Object) client.Object {
	if _, block := o.(*v1alpha1.IPBlock); block && b == IgnoreTerminating && p.on != nil && o.GetDeletionTimestamp() != nil {
		o = o.DeepCopyObject().(client.Object)
		o.SetDeletionTimestamp(nil)
	}
	return o
}

// live is what the controller takes for the API server.
func (b Bug) live(direct *conn, stale *feeds) client.Reader {
	if b == TrustStaleList {
		return stale
	}
	return direct
}

// deleteRecord deletes a record by name.
func (b Bug) deleteRecord(ctx context.Context, r records, o *v1alpha1.WorkloadEndpoint) error {
	if b != ReuseBeforeRecordsEnd {
		return r.conn.Delete(ctx, o)
	}
	go func() { _ = r.conn.Delete(r.p.ctx, o) }()
	return nil
}

// keepLinks reports whether links are called deleted now and deleted later.
func (b Bug) keepLinks(k wiring, names []string) bool {
	if b != FreeBeforeUnlink {
		return false
	}
	later := slices.Clone(names)
	go func() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-k.p.ctx.Done():
			return
		}
		_ = k.change("reaps late", strings.Join(later, " "), func() error {
			for _, name := range later {
				delete(k.m.links, name)
			}
			return nil
		})
	}()
	return true
}
