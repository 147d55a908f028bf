package simulation

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// change is one event of a watch. Nobody changes the object.
type change struct {
	object  client.Object
	gone    bool
	created bool
}

// server is the API server with its store: one copy of each object, and for each kind all changes in order. Only the scheduler
// calls it, so it needs no lock.
type server struct {
	version uint64
	uids    int
	objects map[string]map[client.ObjectKey]client.Object
	log     map[string][]change
}

func newServer() *server {
	return &server{objects: map[string]map[client.ObjectKey]client.Object{}, log: map[string][]change{}}
}

// kindOf returns the kind of an object or of a list's items.
func kindOf(o runtime.Object) string {
	switch o.(type) {
	case *metav1.PartialObjectMetadata, *metav1.PartialObjectMetadataList:
		return strings.TrimSuffix(o.GetObjectKind().GroupVersionKind().Kind, "List")
	}
	return strings.TrimSuffix(reflect.TypeOf(o).Elem().Name(), "List")
}

func resourceOf(kind string) schema.GroupResource {
	return schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: strings.ToLower(kind) + "s"}
}

func keyOf(o client.Object) client.ObjectKey { return client.ObjectKeyFromObject(o) }

func compareKeys(a, b client.ObjectKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func (s *server) get(kind string, key client.ObjectKey) (client.Object, error) {
	if o := s.objects[kind][key]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(resourceOf(kind), key.Name)
}

// list returns the objects of a kind, sorted.
func (s *server) list(kind string) []client.Object { return sortedObjects(s.objects[kind]) }

func sortedObjects(in map[client.ObjectKey]client.Object) []client.Object {
	out := make([]client.Object, 0, len(in))
	for _, o := range in {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b client.Object) int { return compareKeys(keyOf(a), keyOf(b)) })
	return out
}

// create stores a copy.
func (s *server) create(in client.Object, controller bool) (client.Object, error) {
	kind, key := kindOf(in), keyOf(in)
	if s.objects[kind][key] != nil {
		return nil, apierrors.NewAlreadyExists(resourceOf(kind), key.Name)
	}
	o := in.DeepCopyObject().(client.Object)
	if err := s.admitCreation(o, controller); err != nil {
		return nil, err
	}
	s.uids++
	o.SetUID(types.UID(fmt.Sprintf("%08x-0000", s.uids)))
	o.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	o.SetGeneration(1)
	if isOurs(o) {
		clearField(o, "Status")
	}
	s.store(kind, o)
	return o, nil
}

func isOurs(o client.Object) bool {
	return reflect.TypeOf(o).Elem().PkgPath() == "github.com/causeway-net/causeway/api/v1alpha1"
}

func clearField(o client.Object, name string) {
	if f := reflect.ValueOf(o).Elem().FieldByName(name); f.IsValid() {
		f.SetZero()
	}
}

func copyField(to, from client.Object, name string) {
	if f := reflect.ValueOf(to).Elem().FieldByName(name); f.IsValid() {
		f.Set(reflect.ValueOf(from).Elem().FieldByName(name))
	}
}

func (s *server) store(kind string, o client.Object) {
	s.version++
	o.SetResourceVersion(strconv.FormatUint(s.version, 10))
	if s.objects[kind] == nil {
		s.objects[kind] = map[client.ObjectKey]client.Object{}
	}
	created := s.objects[kind][keyOf(o)] == nil
	s.objects[kind][keyOf(o)] = o
	s.log[kind] = append(s.log[kind], change{object: o, created: created})
}

func (s *server) remove(kind string, o client.Object) {
	s.version++
	last := o.DeepCopyObject().(client.Object)
	last.SetResourceVersion(strconv.FormatUint(s.version, 10))
	delete(s.objects[kind], keyOf(o))
	s.log[kind] = append(s.log[kind], change{object: last, gone: true})
}

// admitCreation holds what config/admission/ipblocks.yaml says: blocks are the controller's, and fit a pool that holds them.
func (s *server) admitCreation(o client.Object, controller bool) error {
	block, ok := o.(*v1alpha1.IPBlock)
	if !ok {
		return nil
	}
	refuse := func(why string) error {
		return apierrors.NewForbidden(resourceOf("IPBlock"), block.Name, errors.New(why))
	}
	if !controller {
		return refuse("only the controller creates blocks")
	}
	stored := s.objects["IPPool"][client.ObjectKey{Name: block.Spec.Pool}]
	if stored == nil {
		return refuse("there is no such pool")
	}
	pool := stored.(*v1alpha1.IPPool)
	cidr, err := pool.Spec.Prefix()
	inner, badBlock := netip.ParsePrefix(block.Spec.CIDR)
	fits := err == nil && badBlock == nil && cidr.Contains(inner.Addr()) && inner.Bits() == pool.Spec.BlockBits()
	holds := pool.DeletionTimestamp == nil && slices.Contains(pool.Finalizers, v1alpha1.FinalizerPool)
	if !fits || !holds {
		return refuse("the block does not fit its pool, or the pool does not hold it")
	}
	block.Annotations = map[string]string{"causeway.dev/pool-uid": string(pool.UID)}
	return nil
}

// update replaces an object's status, or all else.
func (s *server) update(next client.Object, status bool) (client.Object, error) {
	kind := kindOf(next)
	old := s.objects[kind][keyOf(next)]
	if old == nil {
		return nil, apierrors.NewNotFound(resourceOf(kind), next.GetName())
	}
	if v := next.GetResourceVersion(); v != "" && v != old.GetResourceVersion() {
		return nil, apierrors.NewConflict(resourceOf(kind), next.GetName(), errors.New("the object has been modified"))
	}
	if uid := next.GetUID(); uid != "" && uid != old.GetUID() {
		return nil, apierrors.NewConflict(resourceOf(kind), next.GetName(), errors.New("the UID differs"))
	}
	var o client.Object
	if status {
		o = old.DeepCopyObject().(client.Object)
		copyField(o, next.DeepCopyObject().(client.Object), "Status")
	} else {
		o = next.DeepCopyObject().(client.Object)
		if isOurs(o) {
			copyField(o, old, "Status")
		}
		o.SetUID(old.GetUID())
		o.SetCreationTimestamp(old.GetCreationTimestamp())
		o.SetDeletionTimestamp(old.GetDeletionTimestamp())
		o.SetGeneration(old.GetGeneration())
	}
	o.SetResourceVersion(old.GetResourceVersion())
	if equality.Semantic.DeepEqual(old, o) {
		return old, nil
	}
	if !sameField(old, o, "Spec") && isOurs(o) {
		o.SetGeneration(old.GetGeneration() + 1)
	}
	if o.GetDeletionTimestamp() != nil && len(o.GetFinalizers()) == 0 {
		s.remove(kind, o)
		return o, nil
	}
	s.store(kind, o)
	return o, nil
}

func sameField(a, b client.Object, name string) bool {
	x, y := reflect.ValueOf(a).Elem().FieldByName(name), reflect.ValueOf(b).Elem().FieldByName(name)
	return !x.IsValid() || equality.Semantic.DeepEqual(x.Interface(), y.Interface())
}

// patch applies a merge patch or a JSON patch.
func (s *server) patch(like client.Object, kind types.PatchType, data []byte, status bool) (client.Object, error) {
	old, err := s.get(kindOf(like), keyOf(like))
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(old)
	if err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", old.GetName(), err)
	}
	switch kind {
	case types.MergePatchType:
		raw, err = jsonpatch.MergePatch(raw, data)
	case types.JSONPatchType:
		var p jsonpatch.Patch
		if p, err = jsonpatch.DecodePatch(data); err == nil {
			raw, err = p.Apply(raw)
		}
	default:
		err = fmt.Errorf("patches of type %s are not simulated", kind)
	}
	if err != nil {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: kindOf(like)}, like.GetName(), nil)
	}
	next := reflect.New(reflect.TypeOf(old).Elem()).Interface().(client.Object)
	if err := json.Unmarshal(raw, next); err != nil {
		return nil, fmt.Errorf("read %s from JSON: %w", old.GetName(), err)
	}
	return s.update(next, status)
}

// drop deletes an object, or marks it as deleted where finalizers hold it.
func (s *server) drop(kind string, key client.ObjectKey, must *metav1.Preconditions) error {
	old, err := s.get(kind, key)
	if err != nil {
		return err
	}
	if must != nil {
		wrongUID := must.UID != nil && *must.UID != old.GetUID()
		wrongVersion := must.ResourceVersion != nil && *must.ResourceVersion != old.GetResourceVersion()
		if wrongUID || wrongVersion {
			return apierrors.NewConflict(resourceOf(kind), key.Name, errors.New("the precondition failed"))
		}
	}
	if len(old.GetFinalizers()) == 0 {
		s.remove(kind, old)
		return nil
	}
	if old.GetDeletionTimestamp() == nil {
		o := old.DeepCopyObject().(client.Object)
		now := metav1.NewTime(time.Now().Truncate(time.Second))
		o.SetDeletionTimestamp(&now)
		s.store(kind, o)
	}
	return nil
}
