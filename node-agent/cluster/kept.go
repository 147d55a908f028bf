package cluster

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// keptBlock is what the cache keeps in the place of an IPBlock: a large cluster has many, and an agent reads a few words of each. The
// view shows the very same values, and so does the plan, so that each is in memory once.
type keptBlock struct {
	name, version string
	block         *Block // nil for a block that the API would not admit
	lent          []*Block
}

// keep parses an IPBlock.
func keep(o *v1alpha1.IPBlock) *keptBlock {
	k := &keptBlock{name: o.Name, version: o.ResourceVersion}
	if block, lent, ok := parseBlock(o); ok {
		k.block, k.lent = block, lent
	}
	return k
}

// keptOf reads what an informer tells: what the cache keeps, or the object itself where nothing has made it small.
func keptOf(o any) (*keptBlock, bool) {
	switch o := o.(type) {
	case *keptBlock:
		return o, true
	case *v1alpha1.IPBlock:
		return keep(o), true
	}
	return nil, false
}

// GetObjectMeta lets the cache tell the name, and one version from the next.
func (k *keptBlock) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Name: k.name, ResourceVersion: k.version}
}

// GetObjectKind is part of runtime.Object.
func (k *keptBlock) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject is part of runtime.Object. Nobody copies what is kept.
func (k *keptBlock) DeepCopyObject() runtime.Object { return k }
