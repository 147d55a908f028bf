package objects

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// answers is a client that lists what is there, but for the kinds that fail.
func answers(t *testing.T, failures map[string]error, there ...client.Object) client.Client {
	t.Helper()
	c, err := scheme()
	if err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(c).WithObjects(there...).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			for kind, err := range failures {
				if strings.Contains(strings.ToLower(gvk(c, list)), kind) {
					return err
				}
			}
			return c.List(ctx, list, options...)
		},
	}).Build()
}

func gvk(c client.Client, o client.ObjectList) string {
	k, err := c.GroupVersionKindFor(o)
	if err != nil {
		return err.Error()
	}
	return k.Kind
}

func TestLook(t *testing.T) {
	pod := func(namespace, name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: "node1", ServiceAccountName: v1alpha1.AgentAccount}}
	}
	c := answers(t, map[string]error{
		"lease":   apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, "", errors.New("not yours")),
		"ipblock": &meta.NoKindMatchError{},
	}, &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "pool"}}, pod(v1alpha1.SystemNamespace, "agent"), pod("default", "other"))
	got, err := Look(t.Context(), c, IPBlocks, IPPools, Leases, SystemPods)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Pools.Items) != 1 || len(got.SystemPods.Items) != 1 || got.AgentPod("node1").Name != "agent" || got.AgentPod("node2") != nil {
		t.Errorf("it sees %+v", got)
	}
	if len(got.Unread) != 2 || got.Unread[0] != (Unread{IPBlocks, NoSuchKind}) || !strings.Contains(got.Unread[1].Why, "not yours") {
		t.Errorf("unread are %+v", got.Unread)
	}
	if got.Read(IPPools, Leases) || !got.Read(IPPools, SystemPods) {
		t.Error("it is wrong about what it has read")
	}
}

// An API server that does not answer is no empty cluster.
func TestLookWithoutAnswer(t *testing.T) {
	c := answers(t, map[string]error{"node": errors.New("connection refused")})
	if _, err := Look(t.Context(), c, Nodes); err == nil || !strings.Contains(err.Error(), "list nodes: connection refused") {
		t.Errorf("the error is %v", err)
	}
}

func TestClock(t *testing.T) {
	here := time.Date(2026, 11, 25, 3, 0, 0, 500_000_000, time.UTC)
	for date, want := range map[string]time.Duration{
		here.Add(-time.Second).Format(http.TimeFormat): 0, // no more than what the header leaves out
		here.Add(time.Hour).Format(http.TimeFormat):    time.Hour - 500*time.Millisecond,
		here.Add(-time.Hour).Format(http.TimeFormat):   -time.Hour - 500*time.Millisecond,
		"": 0,
	} {
		c := &clock{}
		c.set(date, here)
		if c.ahead() != want {
			t.Errorf("%q is ahead by %s, want %s", date, c.ahead(), want)
		}
	}
}
