package picture_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/picture"
)

var update = flag.Bool("update", false, "draw the wanted pictures anew")

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }

func pool(name, cidr string, e v1alpha1.Encapsulation) v1alpha1.IPPool {
	return v1alpha1.IPPool{ObjectMeta: named(name), Spec: v1alpha1.IPPoolSpec{CIDR: cidr, Encapsulation: e}}
}

func session(peer, state string) v1alpha1.BGPSessionStatus {
	return v1alpha1.BGPSessionStatus{Peer: peer, State: state, ASNumber: 65001}
}

// cluster has three subnets, nodes with some blocks and pods, a router, and a session that is down.
func cluster(nodes int) *objects.Cluster {
	c := &objects.Cluster{}
	c.Pools.Items = []v1alpha1.IPPool{
		pool("default-v4", "10.211.0.0/16", v1alpha1.EncapsulationVXLANCrossSubnet), pool("fabric", "10.212.0.0/24", v1alpha1.EncapsulationNone),
		pool("default-v6", "fd00:10:211::/48", v1alpha1.EncapsulationVXLANCrossSubnet),
	}
	for i := range nodes {
		name, address := fmt.Sprintf("node%d", i), fmt.Sprintf("172.30.%d.%d", i%3, 10+i/3)
		ready := metav1.ConditionStatus("True")
		if i == 1 {
			ready = "False"
		}
		c.Networks.Items = append(c.Networks.Items, v1alpha1.NodeNetwork{ObjectMeta: named(name), Status: v1alpha1.NodeNetworkStatus{
			Addresses:  []v1alpha1.NodeAddress{{Address: address, Subnet: address + "/24"}},
			Conditions: []metav1.Condition{{Type: "Ready", Status: ready}},
		}})
		for _, block := range []string{fmt.Sprintf("10.211.%d.%d/26", i/4, i%4*64), fmt.Sprintf("fd00:10:211::%x/122", i*64)} {
			p := netip.MustParsePrefix(block)
			pool := map[bool]string{true: "default-v4", false: "default-v6"}[p.Addr().Is4()]
			c.Blocks.Items = append(c.Blocks.Items, v1alpha1.IPBlock{ObjectMeta: named(block), Spec: v1alpha1.IPBlockSpec{CIDR: block, Node: name, Pool: pool}})
			a := p.Addr()
			for range i % 10 * 6 {
				a = a.Next()
				c.Endpoints.Items = append(c.Endpoints.Items, v1alpha1.WorkloadEndpoint{ObjectMeta: named("r" + a.String()), Spec: v1alpha1.WorkloadEndpointSpec{
					Pod: "p" + a.String()[strings.LastIndexAny(a.String(), ".:"):], Node: name, Addresses: []string{netip.PrefixFrom(a, a.BitLen()).String()},
				}})
			}
		}
		state := v1alpha1.BGPNodeState{ObjectMeta: named(name)}
		state.Status.Sessions = []v1alpha1.BGPSessionStatus{session("172.30.9.1", "Established")}
		if i > 0 {
			state.Status.Sessions = append(state.Status.Sessions, session("172.30.0.10", map[bool]string{true: "Established", false: "Active"}[i != 2]))
		}
		c.States.Items = append(c.States.Items, state)
	}
	return c
}

func TestCompute(t *testing.T) {
	m := picture.Compute(cluster(4))
	wantWays := []picture.Way{
		{Kind: "VXLAN", Across: true, Pools: []string{"default-v4", "default-v6"}},
		{Kind: "routed by the network between the subnets", Across: true, Pools: []string{"fabric"}},
	}
	if len(m.Ways) != 3 || m.Ways[0].Kind != "direct" || !reflect.DeepEqual(m.Ways[1:], wantWays) {
		t.Errorf("ways are %+v", m.Ways)
	}
	if len(m.Subnets) != 3 || m.Subnets[0].CIDR != "172.30.0.0/24" || len(m.Subnets[0].Nodes) != 2 || m.Subnets[1].Nodes[0].Ready {
		t.Errorf("subnets are %+v", m.Subnets)
	}
	if want := []picture.Router{{Address: "172.30.9.1", AS: 65001}}; !reflect.DeepEqual(m.Routers, want) {
		t.Errorf("routers are %+v", m.Routers)
	}
	down := 0
	for _, s := range m.Sessions {
		if !s.Up {
			down++
			if s != (picture.Session{Node: "node0", Peer: "node2"}) {
				t.Errorf("this is down: %+v", s)
			}
		}
	}
	if len(m.Sessions) != 7 || down != 1 {
		t.Errorf("sessions are %+v", m.Sessions)
	}
}

func TestSVG(t *testing.T) { same(t, "testdata/map.svg", string(picture.Compute(cluster(12)).SVG())) }

// same compares with a picture that is kept, so that a change of it is seen in review: open the file in a browser.
func same(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("the picture %s has changed (%v); look at it with -update", file, err)
	}
}

// Lines are sessions with routers and those that are down; boxes count the rest. A page's policy may forbid style sheets.
func TestLines(t *testing.T) {
	text := string(picture.Compute(cluster(4)).SVG())
	if got := strings.Count(text, "<path"); got != 5 {
		t.Errorf("%d lines, want one to the router from each of 4 nodes, and one for the session that is down", got)
	}
	for _, want := range []string{"BGP session of node0 with node2: down", ">BGP 3 of 4<", ">BGP 4 of 4<", ">BGP: 6 of 7 sessions are established."} {
		if !strings.Contains(text, want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	if strings.Contains(text, "<style") || strings.Contains(text, " style=") {
		t.Error("the picture brings a style sheet")
	}
}

func TestSizes(t *testing.T) {
	for _, nodes := range []int{0, 1, 7, 300} {
		c := cluster(nodes)
		if nodes == 7 {
			c.Networks.Items[0].Name = `<script>"&`
			c.Networks.Items[1].Status.Addresses = nil
		}
		text := string(picture.Compute(c).SVG())
		wellFormed(t, text)
		if strings.Contains(text, "<script") {
			t.Error("a name became a part of the document")
		}
		if nodes == 300 && (strings.Count(text, "<path") > 150 || len(text) > 1<<20) {
			t.Errorf("the picture of %d nodes has %d bytes and %d lines", nodes, len(text), strings.Count(text, "<path"))
		}
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
}
