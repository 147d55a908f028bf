package agent

import (
	"errors"
	"fmt"

	"github.com/causeway-net/causeway/node-agent/addresses"
	"github.com/causeway-net/causeway/node-agent/bgp"
	"github.com/causeway-net/causeway/node-agent/datapath"
	"github.com/causeway-net/causeway/node-agent/debug"
)

// windows are what people can see of the running agent.
func (a *Agent) windows() []debug.Window {
	return []debug.Window{
		{Name: "book", Read: func() (fmt.Stringer, error) { return addresses.Window(a.book.Describe(), a.queue.Explain), nil }},
		{Name: "plan", Read: func() (fmt.Stringer, error) {
			kernel, ok := a.datapath.Window()
			if !ok {
				return nil, errors.New("the agent has made no plan yet")
			}
			return planWindow{Kernel: kernel, BGP: a.bgp.Window()}, nil
		}},
	}
}

// planWindow is all that the agent wants.
type planWindow struct {
	Kernel datapath.Window `json:"kernel"`
	BGP    bgp.Window      `json:"bgp"`
}

// String shows both plans one after the other.
func (w planWindow) String() string { return w.Kernel.String() + w.BGP.String() }
