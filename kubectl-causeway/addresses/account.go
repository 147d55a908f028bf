package addresses

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// Account is the outcome of a check: what was counted, and every disagreement.
type Account struct {
	Addresses     int            `json:"addresses"`
	Records       int            `json:"records"`
	Pods          int            `json:"pods"`
	Blocks        int            `json:"blocks"`
	Pools         int            `json:"pools"`
	Books         int            `json:"books"`
	Disagreements []Disagreement `json:"disagreements"`
	// Unread are kinds that could not be read; what depends on them was not checked.
	Unread []objects.Unread `json:"unread,omitempty"`
	// Silent are the nodes whose address book could not be asked, and why.
	Silent map[string]string `json:"silent,omitempty"`
}

// Disagreement is one thing that two places say differently.
type Disagreement struct {
	// Reason names the sort, Subject what it is about; together they tell disagreements apart.
	Reason  string `json:"reason"`
	Subject string `json:"subject"`
	// Message says what is wrong, Advice what to do. Both are sentences.
	Message string `json:"message"`
	Advice  string `json:"advice"`
	// Stale is the record whose deletion mends it without harm, if there is one.
	Stale *Record `json:"stale,omitempty"`
}

// Record is a WorkloadEndpoint as it was seen.
type Record struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	Node      string    `json:"node"`
	Pod       string    `json:"pod"`
	Addresses []string  `json:"addresses"`
}

// The sorts of disagreements.
const (
	AddressTwice = "AddressTwice"
	NoBlock      = "NoBlock"
	ForeignBlock = "ForeignBlock"
	WrongPool    = "WrongPool"
	PodGone      = "PodGone"
	PodEnded     = "PodEnded"
	PodElsewhere = "PodElsewhere"
	NodeGone     = "NodeGone"
	NoRecord     = "NoRecord"
	// RememberedForOther is an address that a pod has and that is remembered for another.
	RememberedForOther = "RememberedForOther"
	OtherAddress       = "OtherAddress"
	BlockWithoutPool   = "BlockWithoutPool"
	BlockOutside       = "BlockOutside"
	BlocksOverlap      = "BlocksOverlap"
	BlockLost          = "BlockLost"
	BlockUnknown       = "BlockUnknown"
	BookUnrecorded     = "BookUnrecorded"
	BookMisses         = "BookMisses"
	BookBlock          = "BookBlock"
)

// Sort puts disagreements in order.
func Sort(list []Disagreement) {
	slices.SortFunc(list, func(a, b Disagreement) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Message, b.Message))
	})
}

// Lasting are the disagreements of a second look that the first one had too. The others were changes in the middle of a look.
func Lasting(first, second []Disagreement) []Disagreement {
	out := []Disagreement{}
	for _, d := range second {
		if slices.ContainsFunc(first, func(e Disagreement) bool { return e.Reason == d.Reason && e.Subject == d.Subject }) {
			out = append(out, d)
		}
	}
	return out
}

// Stale are the records that can be deleted without harm: their pod is gone, and an agent that still has the pod's link
// writes the record again before it gives the address to anybody else.
func (a Account) Stale() []Record {
	var out []Record
	for _, d := range a.Disagreements {
		if d.Stale != nil {
			out = append(out, *d.Stale)
		}
	}
	return out
}
