// Package sticky decides which addresses are remembered for a pod of a StatefulSet. What is remembered, the StatefulSet, the pools and the
// pod's records come in; what is to be remembered, and why an address is not any more, goes out. It does no I/O.
package sticky

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Interface is the pod's interface that Kubernetes shows. Addresses of others are not remembered.
const Interface = "eth0"

// Address is one address, with the name of its pool.
type Address struct {
	Addr netip.Addr `json:"address"`
	Pool string     `json:"pool"`
}

// Memory is what is remembered for one pod.
type Memory struct {
	// Set and SetUID are the name and UID of its StatefulSet.
	Set, SetUID string
	Addresses   []Address
}

// Read reads a StickyAddress.
func Read(o *v1alpha1.StickyAddress) Memory {
	m := Memory{Set: o.Spec.StatefulSet, SetUID: o.Spec.StatefulSetUID}
	for i, text := range o.Spec.Addresses {
		a, err := netip.ParseAddr(text)
		if err == nil && i < len(o.Spec.Pools) { // the API admits no other
			m.Addresses = append(m.Addresses, Address{Addr: a, Pool: o.Spec.Pools[i]})
		}
	}
	return m
}

// Spec writes a memory as a StickyAddress has it.
func (m Memory) Spec() v1alpha1.StickyAddressSpec {
	s := v1alpha1.StickyAddressSpec{StatefulSet: m.Set, StatefulSetUID: m.SetUID}
	for _, a := range m.Addresses {
		s.Addresses, s.Pools = append(s.Addresses, a.Addr.String()), append(s.Pools, a.Pool)
	}
	return s
}

// Equal says whether two memories are the same.
func (m Memory) Equal(o Memory) bool {
	return m.Set == o.Set && m.SetUID == o.SetUID && slices.Equal(m.Addresses, o.Addresses)
}

// Set is what is needed of a StatefulSet.
type Set struct {
	UID string
	// First is the ordinal of its first pod, Replicas how many it is to have.
	First, Replicas int
	// Forgets says that pods which it is scaled down by are not expected back: their volumes are deleted too.
	Forgets bool
}

// SetOf reads a StatefulSet.
func SetOf(o *appsv1.StatefulSet) Set {
	s := Set{UID: string(o.UID), Replicas: 1}
	if o.Spec.Replicas != nil {
		s.Replicas = int(*o.Spec.Replicas)
	}
	if o.Spec.Ordinals != nil {
		s.First = int(o.Spec.Ordinals.Start)
	}
	p := o.Spec.PersistentVolumeClaimRetentionPolicy
	s.Forgets = p != nil && p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	return s
}

// Split returns the name of the StatefulSet that a pod of this name may belong to, and the pod's ordinal.
func Split(pod string) (set string, ordinal int, ok bool) {
	i := strings.LastIndexByte(pod, '-')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(pod[i+1:], 10, 31)
	if err != nil || strconv.FormatUint(n, 10) != pod[i+1:] {
		return "", 0, false
	}
	return pod[:i], int(n), true
}
