package datapath

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

func TestConditionsTellEachThingUnderItsOwnName(t *testing.T) {
	many := State{}
	for i := range 500 {
		many.Refused = append(many.Refused, kernel.Failure{Object: fmt.Sprintf("add route 10.%d.%d.0/26 via 192.168.0.2", i/250, i%250), Err: errors.New("file exists")})
	}
	for _, c := range []struct {
		name  string
		state State
		want  map[string]string // the beginning of "status reason: message"; what is not here is fine
	}{
		{"all is well", State{}, nil},
		{"the kernel can't be read", State{Failure: errors.New("list links: no buffer space")}, map[string]string{
			"Ready": "False KernelNotRead: The node's kernel can't be read: list links: no buffer space"}},
		{"two pods with one address, no module, small MTU", State{Problems: []plan.Problem{
			{Reason: plan.AddressTwice, Message: "One."}, {Reason: plan.ModuleMissing, Message: "Two."}, {Reason: plan.MTUTooSmall, Message: "Three."},
		}}, map[string]string{"AddressesUnique": "False AddressTwice: One.", "KernelSupport": "False ModuleMissing: Two.", "MTUSufficient": "False MTUTooSmall: Three."}},
		{"all of a kind, each once", State{Problems: []plan.Problem{
			{Reason: plan.TouchesInfrastructure, Pool: "p", Message: "One."}, {Reason: plan.TouchesInfrastructure, Pool: "q", Message: "Two."},
			{Reason: plan.AddressShared, Pool: "p", Message: "Three."}, {Reason: plan.AddressShared, Pool: "q", Message: "Three."}, {Reason: plan.PoolMissing, Message: "Four."},
		}}, map[string]string{"Conflicting": "True TouchesInfrastructure: One. Two.", "BlocksReachable": "False AddressShared: Three. Four."}},
		{"refused objects", many, map[string]string{
			"Ready":         "False Refused: The kernel refuses 500 objects",
			"RoutesApplied": "False Refused: The kernel refuses 500 objects; the rest is in place, and the node tries again by itself. add route 10.0.0.0/26 via 192.168.0.2: file exists."}},
	} {
		have := map[string]string{}
		for _, condition := range c.state.Conditions() {
			fine := condition.Status == "True" != (condition.Type == "Conflicting")
			if !fine {
				have[condition.Type] = fmt.Sprintf("%s %s: %s", condition.Status, condition.Reason, condition.Message)
			}
			if len(condition.Message) > 32768 || condition.Reason == "" || condition.Message == "" {
				t.Errorf("%s: the API takes no %+v", c.name, condition)
			}
		}
		for name, want := range c.want {
			if !strings.HasPrefix(have[name], want) {
				t.Errorf("%s: %s is %q, not %q", c.name, name, have[name], want)
			}
			delete(have, name)
		}
		if len(have) > 0 {
			t.Errorf("%s: also %v", c.name, have)
		}
	}
	if text := many.Conditions()[1].Message; len(text) > mostText+100 || !strings.Contains(text, " more; causeway-agent debug plan shows them.") {
		t.Errorf("%d bytes: …%s", len(text), text[len(text)-80:])
	}
}
