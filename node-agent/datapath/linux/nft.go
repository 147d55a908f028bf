package linux

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/knftables"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// nftWithin is how long the program nft may take.
const nftWithin = 10 * time.Second

// nftCheck uses all that our table needs of the kernel. It is checked by the kernel and never committed.
const nftCheck = `add table inet causeway-probe
add set inet causeway-probe s { type ipv4_addr; flags interval; }
add chain inet causeway-probe a { type filter hook prerouting priority -300; }
add rule inet causeway-probe a iifname "probe*" fib saddr . iif oif missing drop
add chain inet causeway-probe b { type nat hook postrouting priority 100; }
add rule inet causeway-probe b ip saddr @s ip daddr != @s masquerade
`

func probeNFTables(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, nftWithin)
	defer cancel()
	c := command(ctx, "--check", "--file", "-")
	c.Stdin = strings.NewReader(nftCheck)
	return c.Run() == nil
}

// command is the program nft, which is given up when the context ends, with whatever it has started.
func command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "nft", args...)
	c.WaitDelay = 100 * time.Millisecond
	return c
}

// firewall keeps our nftables table. Each rule's comment is a hash of its text, by which a listing is compared with a plan.
type firewall struct {
	nft knftables.Interface
	// within is how long the program nft may take.
	within time.Duration
	last   plan.Firewall
	// dirty says that somebody may have touched the table.
	dirty bool
}

func (f *firewall) apply(ctx context.Context, want plan.Firewall, r *report) {
	if !f.dirty && reflect.DeepEqual(f.last, want) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, f.within)
	defer cancel()
	if !f.dirty && f.updateMembers(ctx, want) {
		r.Changes++
		f.last = want
		return
	}
	have, err := listed(ctx)
	if err != nil {
		if len(want.Chains) > 0 {
			r.fail(err, "list nftables table %s", names.NFTTable)
		}
		return
	}
	if !reflect.DeepEqual(have, expected(want)) {
		if err := f.write(ctx, want, have); err != nil {
			r.fail(err, "write nftables table %s", names.NFTTable)
			return
		}
		r.Changes++
	}
	f.last, f.dirty = want, false
}

// updateMembers changes the elements of sets of single addresses, if nothing else differs from what was written last. It
// reports false if the whole table has to be looked at.
func (f *firewall) updateMembers(ctx context.Context, want plan.Firewall) bool {
	if f.nft == nil || len(want.Chains) == 0 || !reflect.DeepEqual(f.last.Chains, want.Chains) || len(f.last.Sets) != len(want.Sets) {
		return false
	}
	tx := f.nft.NewTransaction()
	for i, s := range want.Sets {
		before := f.last.Sets[i]
		if s.Name != before.Name || s.Type != before.Type || s.Interval && !slices.Equal(s.Elements, before.Elements) {
			return false
		}
		had := make(map[string]bool, len(before.Elements))
		for _, e := range before.Elements {
			had[e] = true
		}
		for _, e := range s.Elements {
			if !had[e] {
				tx.Add(&knftables.Element{Set: s.Name, Key: []string{e}})
			}
			delete(had, e)
		}
		for e := range had {
			tx.Delete(&knftables.Element{Set: s.Name, Key: []string{e}})
		}
	}
	if f.nft.Run(ctx, tx) == nil {
		return true
	}
	f.dirty = true
	return false
}

// write replaces the table in one transaction.
func (f *firewall) write(ctx context.Context, want plan.Firewall, have tableContent) error {
	if f.nft == nil {
		nft, err := knftables.New(knftables.InetFamily, names.NFTTable)
		if err != nil {
			return err
		}
		f.nft = nft
	}
	tx := f.nft.NewTransaction()
	if have != nil {
		tx.Delete(&knftables.Table{})
	}
	if len(want.Chains) > 0 {
		tx.Add(&knftables.Table{})
	}
	for _, s := range want.Sets {
		set := &knftables.Set{Name: s.Name, Type: s.Type}
		if s.Interval {
			set.Flags = []knftables.SetFlag{knftables.IntervalFlag}
		}
		tx.Add(set)
		for _, e := range s.Elements {
			tx.Add(&knftables.Element{Set: s.Name, Key: []string{e}})
		}
	}
	for _, c := range want.Chains {
		tx.Add(&knftables.Chain{
			Name: c.Name, Type: knftables.PtrTo(knftables.BaseChainType(c.Type)), Hook: knftables.PtrTo(knftables.BaseChainHook(c.Hook)),
			Priority: knftables.PtrTo(knftables.BaseChainPriority(c.Priority)),
		})
		for _, rule := range c.Rules {
			tx.Add(&knftables.Rule{Chain: c.Name, Rule: rule, Comment: knftables.PtrTo(fingerprint(rule))})
		}
	}
	if tx.NumOperations() == 0 {
		return nil
	}
	return f.nft.Run(ctx, tx)
}

func fingerprint(rule string) string {
	sum := sha256.Sum256([]byte(rule))
	return hex.EncodeToString(sum[:8])
}

// tableContent is what is compared: for each set its elements, for each chain its hook and its rules' comments. It is
// nil where there is no table.
type tableContent map[string][]string

func expected(want plan.Firewall) tableContent {
	if len(want.Chains) == 0 {
		return nil
	}
	content := tableContent{}
	for _, s := range want.Sets {
		elements := []string{s.Type}
		for _, e := range s.Elements {
			elements = append(elements, strings.TrimSuffix(strings.TrimSuffix(e, "/32"), "/128"))
		}
		content["set "+s.Name] = sortedTail(elements)
	}
	for _, c := range want.Chains {
		rows := []string{c.Type + " " + c.Hook + " " + strconv.Itoa(priority(c))}
		for _, rule := range c.Rules {
			rows = append(rows, fingerprint(rule))
		}
		content["chain "+c.Name] = rows
	}
	return content
}

func priority(c plan.Chain) int {
	n, err := knftables.ParsePriority(knftables.InetFamily, c.Priority)
	if err != nil {
		return 0
	}
	return n
}

// listed reads our table.
func listed(ctx context.Context) (tableContent, error) {
	out, err := command(ctx, "-j", "list", "table", "inet", names.NFTTable).Output()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the program nft did not end in time: %w", ctx.Err())
	}
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			if strings.Contains(string(exit.Stderr), "No such file or directory") {
				return nil, nil
			}
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, err
	}
	return parseListing(out)
}

func parseListing(out []byte) (tableContent, error) {
	var listing struct {
		Objects []struct {
			Set *struct {
				Name, Type string
				Elem       []any
			}
			Chain *struct {
				Name, Type, Hook string
				Prio             int
			}
			Rule *struct{ Chain, Comment string }
			Map  any
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &listing); err != nil {
		return nil, fmt.Errorf("read nft's listing: %w", err)
	}
	content := tableContent{}
	for _, o := range listing.Objects {
		switch {
		case o.Set != nil:
			elements := []string{o.Set.Type}
			for _, e := range o.Set.Elem {
				elements = append(elements, element(e))
			}
			content["set "+o.Set.Name] = sortedTail(elements)
		case o.Chain != nil:
			content["chain "+o.Chain.Name] = []string{fmt.Sprintf("%s %s %d", o.Chain.Type, o.Chain.Hook, o.Chain.Prio)}
		case o.Rule != nil:
			content["chain "+o.Rule.Chain] = append(content["chain "+o.Rule.Chain], o.Rule.Comment)
		case o.Map != nil:
			content["map"] = nil
		}
	}
	return content, nil
}

// element reads an address, or {"prefix": {"addr": ..., "len": ...}}.
func element(e any) string {
	if s, ok := e.(string); ok {
		return s
	}
	if m, ok := e.(map[string]any); ok {
		if p, ok := m["prefix"].(map[string]any); ok {
			a, err := netip.ParseAddr(fmt.Sprint(p["addr"]))
			bits, _ := p["len"].(float64)
			if err == nil {
				return netip.PrefixFrom(a, int(bits)).String()
			}
		}
	}
	return fmt.Sprint(e)
}

func sortedTail(rows []string) []string {
	slices.Sort(rows[1:])
	return rows
}
