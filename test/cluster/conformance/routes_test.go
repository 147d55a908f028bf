package conformance

import (
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func TestRoutes(t *testing.T) {
	addresses := []string{"172.30.1.11", "fd00:30:1::11"}
	got := routes([]v1alpha1.IPBlock{
		{Spec: v1alpha1.IPBlockSpec{CIDR: "10.211.0.0/26", NodeAddresses: addresses}},
		{Spec: v1alpha1.IPBlockSpec{CIDR: "fd00:10:211::/122", NodeAddresses: addresses}},
		{Spec: v1alpha1.IPBlockSpec{CIDR: "10.211.0.64/26"}},
	})
	if want := "route replace 10.211.0.0/26 via 172.30.1.11\nroute replace fd00:10:211::/122 via fd00:30:1::11\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
