package cniserver

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// asksForMAC is a call whose pod, network configuration and CNI_ARGS ask for hardware addresses.
func asksForMAC(verb, containerInterface, annotation, runtimeConfig, args string) protocol.Request {
	r := request(verb, "a")
	r.Interface = containerInterface
	r.Config = json.RawMessage(fmt.Sprintf(`{"cniVersion":"1.1.0","name":"causeway","type":"causeway","runtimeConfig":{"mac":%q,"io.kubernetes.cri.pod-annotations":{%q:%q}}}`,
		runtimeConfig, v1alpha1.AnnotationMAC, annotation))
	if args != "" {
		r.Args += ";MAC=" + args
	}
	return r
}

func TestWhoseHardwareAddressAPodGets(t *testing.T) {
	own, other := names.PodMAC("a", "eth0").String(), names.PodMAC("a", "net1").String()
	for name, c := range map[string]struct{ containerInterface, annotation, runtimeConfig, args, want string }{
		"nobody asks":                     {containerInterface: "eth0", want: own},
		"the pod":                         {containerInterface: "eth0", annotation: "02:00:5e:10:00:01", want: "02:00:5e:10:00:01"},
		"in other words":                  {containerInterface: "eth0", annotation: "0200.5E10.0001", want: "02:00:5e:10:00:01"},
		"a vendor's":                      {containerInterface: "eth0", annotation: "00-16-3E-00-00-01", want: "00:16:3e:00:00:01"},
		"the pod, for another interface":  {containerInterface: "net1", annotation: "02:00:5e:10:00:01", want: other},
		"the runtime, for any interface":  {containerInterface: "net1", runtimeConfig: "02:00:5e:10:00:02", want: "02:00:5e:10:00:02"},
		"CNI_ARGS":                        {containerInterface: "eth0", args: "02:00:5e:10:00:03", want: "02:00:5e:10:00:03"},
		"all of them, who mean the same":  {containerInterface: "eth0", annotation: "02:00:5e:10:00:0a", runtimeConfig: "02-00-5E-10-00-0A", args: "02:00:5E:10:00:0A", want: "02:00:5e:10:00:0a"},
		"the pod asks for its own anyway": {containerInterface: "eth0", annotation: own, want: own},
	} {
		w := newWorld()
		s := newTestServer(t, w)
		answer := s.must(t, asksForMAC("ADD", c.containerInterface, c.annotation, c.runtimeConfig, c.args))
		result, err := types100.NewResult(answer.Result)
		if err != nil {
			t.Fatal(err)
		}
		full, err := types100.GetResult(result)
		if err != nil {
			t.Fatal(err)
		}
		key := names.HostInterface("a", c.containerInterface)
		if full.Interfaces[1].Mac != c.want || w.records[key].MAC != c.want {
			t.Errorf("%s: the result says %s, the record %s, want %s", name, full.Interfaces[1].Mac, w.records[key].MAC, c.want)
		}
		spec, err := Spec(w.records[key], 1500)
		fixed := c.want != own && c.want != other
		if err != nil || spec.MAC.String() != c.want || (spec.Alias.MAC != "") != fixed || fixed && spec.Alias.MAC != c.want {
			t.Errorf("%s: the link is %+v, %v", name, spec, err)
		}
	}
}

func TestAHardwareAddressThatCannotBeIsRefusedWithASentence(t *testing.T) {
	for name, c := range map[string]struct {
		annotation, runtimeConfig, args, want string
		code                                  uint
	}{
		"no address": {annotation: "two", code: protocol.CodeInvalidConfig,
			want: `Pod default/web-0 can't have the hardware address that the annotation causeway.dev/mac asks for: "two" is no hardware address of six bytes, such as 02:00:5e:10:00:01.`},
		"eight bytes":         {annotation: "02:00:5e:10:00:01:00:00", code: protocol.CodeInvalidConfig, want: "no hardware address of six bytes"},
		"a list":              {annotation: "02:00:5e:10:00:01,02:00:5e:10:00:02", code: protocol.CodeInvalidConfig, want: "no hardware address of six bytes"},
		"group":               {annotation: "01:00:5e:10:00:01", code: protocol.CodeInvalidConfig, want: "01:00:5e:10:00:01 is a group address"},
		"broadcast":           {annotation: "ff:ff:ff:ff:ff:ff", code: protocol.CodeInvalidConfig, want: "is a group address"},
		"zero":                {annotation: "00:00:00:00:00:00", code: protocol.CodeInvalidConfig, want: "00:00:00:00:00:00 is not an address"},
		"the gateway's":       {annotation: "EE:EE:EE:EE:EE:EE", code: protocol.CodeInvalidConfig, want: "ee:ee:ee:ee:ee:ee is the address of the pod's gateway"},
		"of the runtime":      {runtimeConfig: "two", code: protocol.CodeInvalidConfig, want: "runtimeConfig.mac of the network configuration"},
		"of CNI_ARGS":         {args: "two", code: protocol.CodeInvalidEnvironment, want: "MAC of CNI_ARGS"},
		"two different wants": {annotation: "02:00:5e:10:00:01", args: "02:00:5e:10:00:02", code: protocol.CodeInvalidEnvironment, want: "can't have two hardware addresses for eth0: the annotation causeway.dev/mac asks for 02:00:5e:10:00:01, MAC of CNI_ARGS for 02:00:5e:10:00:02."},
	} {
		w := newWorld()
		s := newTestServer(t, w)
		bad := s.Handle(t.Context(), asksForMAC("ADD", "eth0", c.annotation, c.runtimeConfig, c.args)).Error
		if bad == nil || bad.Code != c.code || !strings.Contains(bad.Message, c.want) {
			t.Errorf("%s: got %+v, want %d %q", name, bad, c.code, c.want)
		}
		s.must(t, asksForMAC("DEL", "eth0", c.annotation, c.runtimeConfig, c.args)) // the runtime must be able to clean up
		if len(w.records) > 0 || len(w.links) > 0 {
			t.Errorf("%s: something is left: %v, %v", name, w.records, w.links)
		}
	}
}

// The ADD after a DEL that is not over keeps the addresses of the endpoint, but only with the hardware address that its link has.
func TestAddDuringDelWithAnotherHardwareAddress(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	s.must(t, asksForMAC("ADD", "eth0", "02:00:5e:10:00:01", "", ""))
	w.away = true
	s.must(t, asksForMAC("DEL", "eth0", "", "", ""))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if bad := s.Handle(ctx, asksForMAC("ADD", "eth0", "02:00:5e:10:00:02", "", "")).Error; bad == nil || bad.Code != protocol.CodeTryAgainLater {
		t.Errorf("the link has another address, but the answer is %+v", bad)
	}
	s.must(t, asksForMAC("ADD", "eth0", "02:00:5e:10:00:01", "", ""))
}
