package linux

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

func linkNames(t *testing.T) string {
	t.Helper()
	var names []string
	for _, line := range strings.Split(run(t, "ip -br link"), "\n") {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func TestProbeLeavesNothing(t *testing.T) {
	a := enter(t)
	before := linkNames(t) + run(t, "nft list ruleset")
	have := a.Probe(context.Background())
	// What the kernel can do is asked in another way: by doing it.
	try := func(command string) bool {
		f := strings.Fields(command)
		return exec.Command(f[0], f[1:]...).Run() == nil
	}
	if after := linkNames(t) + run(t, "nft list ruleset"); after != before && !have.Links[plan.KindIPIP] {
		t.Errorf("the probe left %s, before %s", after, before)
	}
	want := plan.Capabilities{Links: map[plan.LinkKind]bool{
		plan.KindVXLAN: try("ip link add v0 type vxlan id 5 dstport 4789"),
		plan.KindIPIP:  try("ip link add i0 type ipip local 192.0.2.1 remote 192.0.2.2"),
	}, NFTables: try("nft add table inet x")}
	if !have.Equal(want) {
		t.Errorf("probed %+v, the kernel can do %+v", have, want)
	}
}
