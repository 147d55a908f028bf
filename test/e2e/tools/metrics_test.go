package tools_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// TestMetrics lets everything happen that is counted, and finds every metric that rules, dashboard and pages name, with the
// labels that they select by.
func TestMetrics(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 2, Subnets: 1, AgentArgs: []string{"--block-linger=100ms", "--reserve=1"}, ControllerArgs: []string{"--metrics-bind-address=127.0.0.1:9480"}})
	bits, as := int32(30), int64(65001)
	small := pool("small", "10.211.0.0/28")
	small.Spec.BlockSize = &bits
	l.Create(t, small)
	l.Create(t, &v1alpha1.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.BGPConfigurationSpec{
		ASNumber: 64512, ListenPort: 179, NodeToNodeMesh: v1alpha1.NodeToNodeMesh{Enabled: true}}})
	l.Create(t, &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}, Spec: v1alpha1.BGPPeerSpec{PeerIP: "172.30.1.1", ASNumber: &as}})

	// Four blocks of three addresses: they are all given out, one more is refused, and they come back.
	var pods []*lab.Pod
	for i := range 12 {
		p, err := l.StartPod(t.Context(), l.Nodes[i%2], fmt.Sprintf("default/pod-%d", i), lab.PodOptions{})
		if err != nil {
			break
		}
		pods = append(pods, p)
	}
	if _, err := l.StartPod(t.Context(), l.Nodes[0], "default/too-many", lab.PodOptions{}); err == nil || len(pods) < 6 {
		t.Fatalf("after %d pods, one more starts (%v)", len(pods), err)
	}
	for _, p := range pods {
		must(t, l.StopPod(t.Context(), p))
	}
	refuseReports(t, l)
	uses := named(t)
	if len(uses) < 10 {
		t.Fatalf("only %d metrics are named anywhere: %v", len(uses), uses)
	}
	l.Eventually(t, time.Minute, "every metric that is named exists and has moved", func() error {
		text, err := scrape(t, l)
		if err != nil {
			return err
		}
		var missing []error
		for _, u := range uses {
			missing = append(missing, u.foundIn(text))
		}
		return errors.Join(missing...)
	})
}

// refuseReports takes away the agents' right to write how far they have come with pools, and gives them something to write.
func refuseReports(t *testing.T, l *lab.Lab) {
	t.Helper()
	var role rbacv1.ClusterRole
	must(t, l.Object(t.Context(), "causeway-agent", &role))
	for i := range role.Rules {
		role.Rules[i].Resources = slices.DeleteFunc(role.Rules[i].Resources, func(r string) bool { return r == "blockclaims/status" })
	}
	must(t, l.Client.Update(t.Context(), &role))
	l.Create(t, pool("another", "10.212.0.0/24"))
}

// scrape returns what both agents and the controller answer.
func scrape(t *testing.T, l *lab.Lab) (string, error) {
	t.Helper()
	const script = `exec 3<>/dev/tcp/127.0.0.1/%d && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3 && cat <&3`
	controller, err := l.Command(t.Context(), "bash", "-c", fmt.Sprintf(script, 9480)).Output()
	all := controller
	for _, n := range l.Nodes {
		agent, agentErr := n.Command(t.Context(), "bash", "-c", fmt.Sprintf(script, 9441)).Output()
		err = errors.Join(err, agentErr)
		all += agent
	}
	return all, err
}

// use is one place that names a metric.
type use struct {
	file, metric string
	// matchers are what it selects by: label and value. An empty value is any.
	matchers [][2]string
}

var (
	metric  = regexp.MustCompile(`\b(causeway_[a-z_]+)(\{[^}]*\})?`)
	matcher = regexp.MustCompile(`(\w+)(=~|!=|=|,|\}|$)"?([^",}]*)"?`)
	// notOurs are labels that Prometheus adds.
	notOurs = regexp.MustCompile(`^(node|job|pod)$`)
)

// named are all metrics that rules, dashboard and pages name.
func named(t *testing.T) []use {
	t.Helper()
	files, err := filepath.Glob("../../../docs/*.md")
	must(t, err)
	var out []use
	for _, file := range append(files, "../../../config/prometheus/rules.yaml", "../../../config/prometheus/dashboard.json") {
		text, err := os.ReadFile(file)
		must(t, err)
		for _, m := range metric.FindAllStringSubmatch(strings.ReplaceAll(string(text), `\"`, `"`), -1) {
			u := use{file: filepath.Base(file), metric: m[1]}
			for _, pair := range matcher.FindAllStringSubmatch(m[2], -1) {
				value := pair[3]
				if pair[2] != "=" {
					value = ""
				}
				if !notOurs.MatchString(pair[1]) {
					u.matchers = append(u.matchers, [2]string{pair[1], value})
				}
			}
			out = append(out, u)
		}
	}
	return out
}

// foundIn is nil if a series fits, and one of them is not 0.
func (u use) foundIn(text string) error {
	found := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		series, value, _ := strings.Cut(line, " ")
		name, labels, _ := strings.Cut(series, "{")
		ok := name == u.metric || strings.HasPrefix(name, u.metric+"_")
		for _, m := range u.matchers {
			ok = ok && strings.Contains("{"+labels, m[0]+`="`+m[1])
		}
		found = found || ok && value != "" && value != "0"
		if ok && mayBeZero[u.metric] {
			found = true
		}
	}
	if !found {
		return fmt.Errorf("%s names %s %v, and there is no such series, or it never moves", u.file, u.metric, u.matchers)
	}
	return nil
}

// mayBeZero are those that stay 0 where nothing is wrong; other tests make them move.
var mayBeZero = map[string]bool{
	"causeway_agents_silent": true, "causeway_dataplane_failed_objects": true, "causeway_endpoints_unrecorded": true, "causeway_node_addresses": true,
	"causeway_ippool_addresses": true, "causeway_ippool_nodes_at_limit": true,
}
