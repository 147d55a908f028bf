package simulation

import (
	"context"
	"fmt"
	"reflect"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// conn is a process's connection to the API server. Methods that no process uses are missing: a call of one panics.
type conn struct {
	client.WithWatch // nil
	w                *World
	p                *process
	cache            *feeds // reads come from here; nil for the API server itself
	streams          *feeds // watches are kept here
}

func (c *conn) controller() bool { return c.p.on == nil }

// ask has something done at the API server.
func (c *conn) ask(ctx context.Context, verb, kind, name string, effect func() error) error {
	return c.w.gate.pass(ctx, &call{of: c.p, key: c.p.name + " " + verb + " " + kind + " " + name, effect: effect, remote: true})
}

func (c *conn) Scheme() *runtime.Scheme { return c.w.scheme }

// Get implements client.Reader.
func (c *conn) Get(ctx context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	kind := kindOf(into)
	var found client.Object
	if c.cache != nil {
		f, err := c.cache.wait(ctx, kind)
		if err != nil {
			return err
		}
		err = c.w.gate.pass(ctx, &call{of: c.p, key: c.p.name + " cache " + kind + " " + key.Name, free: true, effect: func() (err error) {
			found, err = f.get(key)
			return err
		}})
		if err != nil {
			return err
		}
		fill(into, found)
		return nil
	}
	err := c.ask(ctx, "get", kind, key.Name, func() (err error) {
		found, err = c.w.server.get(kind, key)
		return err
	})
	if err != nil {
		return err
	}
	fill(into, found)
	return nil
}

// fill copies what was read.
func fill(into, found client.Object) {
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(found.DeepCopyObject()).Elem())
}

// List implements client.Reader.
func (c *conn) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	o := client.ListOptions{}
	o.ApplyOptions(opts)
	kind := kindOf(into)
	var found []client.Object
	var err error
	if c.cache != nil {
		var f *feed
		if f, err = c.cache.wait(ctx, kind); err != nil {
			return err
		}
		err = c.w.gate.pass(ctx, &call{of: c.p, key: c.p.name + " cache " + kind, free: true, effect: func() error {
			found = sortedObjects(f.shown)
			return nil
		}})
	} else {
		err = c.ask(ctx, "list", kind, "", func() error {
			found = c.w.server.list(kind)
			return nil
		})
	}
	if err != nil {
		return err
	}
	var items []runtime.Object
	for _, object := range found {
		if selected(object, o.FieldSelector) && (o.Namespace == "" || o.Namespace == object.GetNamespace()) {
			items = append(items, object.DeepCopyObject())
		}
	}
	into.SetResourceVersion(fmt.Sprint(c.w.server.version))
	return meta.SetList(into, items)
}

// ListEndpoints implements blocks.EndpointSource.
func (c *conn) ListEndpoints(ctx context.Context, each func(*v1alpha1.WorkloadEndpoint)) (string, error) {
	var list v1alpha1.WorkloadEndpointList
	if err := c.List(ctx, &list); err != nil {
		return "", err
	}
	for i := range list.Items {
		each(&list.Items[i])
	}
	return list.ResourceVersion, nil
}

// WatchEndpoints implements blocks.EndpointSource.
func (c *conn) WatchEndpoints(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return c.Watch(ctx, &v1alpha1.WorkloadEndpointList{}, &client.ListOptions{Raw: &o})
}

// selected knows the fields that Causeway selects by.
func selected(o client.Object, s fields.Selector) bool {
	if s == nil || s.Empty() {
		return true
	}
	set := fields.Set{"metadata.name": o.GetName()}
	switch o := o.(type) {
	case *v1alpha1.IPBlock:
		set["spec.node"] = o.Spec.Node
	case *v1alpha1.WorkloadEndpoint:
		set["spec.node"] = o.Spec.Node
	}
	return s.Matches(set)
}

// write sends a changed object and fills in what the API server has made of it.
func (c *conn) write(ctx context.Context, verb string, o client.Object, effect func() (client.Object, error)) error {
	var stored client.Object
	err := c.ask(ctx, verb, kindOf(o), o.GetName(), func() (err error) {
		stored, err = effect()
		return err
	})
	if err != nil {
		return err
	}
	fill(o, stored)
	return nil
}

// skewed is what a node with a wrong clock writes.
func (c *conn) skewed(o client.Object) client.Object {
	out := o.DeepCopyObject().(client.Object)
	if lease, ok := out.(*coordinationv1.Lease); ok && c.p.on != nil && lease.Spec.RenewTime != nil {
		lease.Spec.RenewTime = &metav1.MicroTime{Time: lease.Spec.RenewTime.Add(c.p.on.clock)}
	}
	return out
}

// Create implements client.Writer.
func (c *conn) Create(ctx context.Context, o client.Object, _ ...client.CreateOption) error {
	sent := c.w.bugs.created(c.skewed(o))
	return c.write(ctx, "create", o, func() (client.Object, error) { return c.w.server.create(sent, c.controller()) })
}

// Update implements client.Writer.
func (c *conn) Update(ctx context.Context, o client.Object, _ ...client.UpdateOption) error {
	sent := c.skewed(o)
	return c.write(ctx, "update", o, func() (client.Object, error) { return c.w.server.update(sent, false) })
}

// Patch implements client.Writer.
func (c *conn) Patch(ctx context.Context, o client.Object, p client.Patch, _ ...client.PatchOption) error {
	return c.patch(ctx, o, p, false)
}

func (c *conn) patch(ctx context.Context, o client.Object, p client.Patch, status bool) error {
	data, err := p.Data(o)
	if err != nil {
		return fmt.Errorf("make a patch: %w", err)
	}
	data = c.w.bugs.patched(o, data)
	like, verb := o.DeepCopyObject().(client.Object), "patch"
	if status {
		verb = "patch the status of"
	}
	return c.write(ctx, verb, o, func() (client.Object, error) { return c.w.server.patch(like, p.Type(), data, status) })
}

// Delete implements client.Writer.
func (c *conn) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	options := client.DeleteOptions{}
	options.ApplyOptions(opts)
	kind, key := kindOf(o), keyOf(o)
	return c.ask(ctx, "delete", kind, key.Name, func() error { return c.w.server.drop(kind, key, options.Preconditions) })
}

// Status implements client.StatusClient.
func (c *conn) Status() client.SubResourceWriter { return statusConn{c: c} }

type statusConn struct {
	client.SubResourceWriter // nil
	c                        *conn
}

// Patch implements client.SubResourceWriter.
func (s statusConn) Patch(ctx context.Context, o client.Object, p client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.c.patch(ctx, o, p, true)
}

// records is what package records needs of the API server, as its own implementation uses the clients.
type records struct{ *conn }

// Create implements records.API.
func (r records) Create(ctx context.Context, o *v1alpha1.WorkloadEndpoint) error {
	sent := o.DeepCopy()
	c := &call{of: r.p, key: r.p.name + " create WorkloadEndpoint " + o.Name, remote: true}
	c.effect = func() error {
		stored, err := r.w.server.create(sent, false)
		if err == nil && !c.abandoned.IsZero() {
			r.w.late[stored.GetUID()] = time.Now()
		}
		return err
	}
	return r.w.gate.pass(ctx, c)
}

// Get implements records.API.
func (r records) Get(ctx context.Context, namespace, name string) (*v1alpha1.WorkloadEndpoint, error) {
	var out v1alpha1.WorkloadEndpoint
	err := r.conn.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &out)
	return &out, err
}

// Delete implements records.API.
func (r records) Delete(ctx context.Context, namespace, name string, uid types.UID) error {
	o := &v1alpha1.WorkloadEndpoint{}
	o.Namespace, o.Name = namespace, name
	if uid == "" {
		return r.w.bugs.deleteRecord(ctx, r, o)
	}
	return r.conn.Delete(ctx, o, client.Preconditions{UID: &uid})
}

// List implements records.API.
func (r records) List(ctx context.Context) ([]v1alpha1.WorkloadEndpoint, error) {
	var out v1alpha1.WorkloadEndpointList
	err := r.conn.List(ctx, &out, client.MatchingFields{"spec.node": r.p.on.name})
	return out.Items, err
}
