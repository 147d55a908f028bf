package controllers_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func TestBGPPeerStatus(t *testing.T) {
	w := begin(t)
	as := int64(64513)
	peer := &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1alpha1.BGPPeerSpec{PeerIP: "192.168.0.254", ASNumber: &as,
		Password: &v1alpha1.BGPPassword{SecretKeyRef: corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "tor"}, Key: "password"}}}}
	w.must(w.Create(w.ctx, peer))
	reason := func(want, sessions string) {
		t.Helper()
		w.wait(want, func() string {
			var p v1alpha1.BGPPeer
			w.must(w.Get(w.ctx, client.ObjectKey{Name: "tor"}, &p))
			c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
			if c == nil || c.Reason != want || p.Status.Sessions != sessions || p.Status.ObservedGeneration != p.Generation {
				return fmt.Sprintf("%+v", p.Status)
			}
			return ""
		})
	}
	reason("SecretNotFound", "0/0")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.BGPNamespace, Name: "tor"}, Data: map[string][]byte{"password": []byte("x")}}
	w.must(w.Create(w.ctx, secret))
	defer func() { w.must(w.Delete(w.ctx, secret)) }()
	reason("NoNodeSelected", "0/0")
	w.node("n1", "192.168.0.1")
	reason("SessionsDown", "0/1")
	state := &v1alpha1.BGPNodeState{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	w.must(w.Create(w.ctx, state))
	defer func() { w.must(client.IgnoreNotFound(w.Delete(w.ctx, state))) }()
	state.Status.Sources = []v1alpha1.BGPSourceStatus{{Source: "BGPPeer/tor", Expected: 1, Established: 1}}
	w.must(w.Status().Update(w.ctx, state))
	reason("SessionsEstablished", "1/1")
}
