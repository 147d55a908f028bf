package convert_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/causeway-net/causeway/kubectl-causeway/convert"
)

var update = flag.Bool("update", false, "write the wanted files anew")

// golden compares a result with a file.
func golden(t *testing.T, file string, r *convert.Result, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCalico(t *testing.T) {
	r, err := convert.Calico(read(t, "testdata/calico.yaml"))
	golden(t, "testdata/calico.want.yaml", r, err)
	if !r.LeftOut() {
		t.Error("it claims to have translated everything")
	}
}

// Calico's nodes have a mesh where nobody says anything.
func TestCalicoDefaults(t *testing.T) {
	const pool = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.0.0.0/16, ipipMode: CrossSubnet}\n"
	r, err := convert.Calico([]byte(pool))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Objects) != 1 || len(r.Remarks) != 1 || !strings.Contains(r.Remarks[0].Message, "BGP mesh by default") || r.LeftOut() {
		t.Errorf("a pool alone becomes %+v", r)
	}
	const peer = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 192.0.2.1, asNumber: 65001}\n"
	if r, err = convert.Calico([]byte(pool), []byte(peer)); err != nil {
		t.Fatal(err)
	}
	text, err := r.YAML()
	if err != nil || len(r.Objects) != 3 || !strings.Contains(string(text), "enabled: true") {
		t.Errorf("a pool and a peer become (%v)\n%s", err, text)
	}
}

// A selector of everything chooses all nodes as peers; none at all chooses nobody.
func TestPeerSelector(t *testing.T) {
	const peer = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: p}\nspec: {peerSelector: all()}\n"
	r, err := convert.Calico([]byte(peer))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := r.YAML(); err != nil || !strings.Contains(string(text), "peerSelector: {}") {
		t.Errorf("it becomes (%v)\n%s", err, text)
	}
}

func TestFlannel(t *testing.T) {
	r, err := convert.Flannel(read(t, "testdata/flannel.yaml"))
	golden(t, "testdata/flannel.want.yaml", r, err)
}

// flannel's whole manifest has other objects before the ConfigMap. Another file is no configuration.
func TestFlannelManifest(t *testing.T) {
	const others = "kind: Namespace\napiVersion: v1\nmetadata: {name: kube-flannel}\n---\n"
	r, err := convert.Flannel(append([]byte(others), read(t, "testdata/flannel.yaml")...))
	golden(t, "testdata/flannel.want.yaml", r, err)
	for _, text := range []string{others, "", "{\"kind\": \"ConfigMap\", \"data\": {}}"} {
		if r, err := convert.Flannel([]byte(text)); err == nil || !strings.Contains(err.Error(), "kube-flannel-cfg") {
			t.Errorf("%q becomes %+v: %v", text, r, err)
		}
	}
}

func TestSummary(t *testing.T) {
	const pool = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.0.0.0/16}\n"
	const policy = "---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: deny}\n"
	for text, want := range map[string]string{
		pool:          "1 object was written. Read the 1 remark in the comments at the top of the manifest.",
		pool + policy: "1 object was written; left out: NetworkPolicy/deny. Read the 2 remarks in the comments at the top of the manifest.",
	} {
		r, err := convert.Calico([]byte(text))
		if err != nil || r.Summary() != want {
			t.Errorf("%s: %v: %+v, want %q", text, err, r, want)
		}
	}
	if r, err := convert.Calico([]byte("items: []\n")); err == nil {
		t.Errorf("an empty list becomes %+v", r)
	}
}

func TestFlannelBackends(t *testing.T) {
	for conf, want := range map[string]string{
		`{"Network":"10.0.0.0/8","Backend":{"Type":"host-gw"}}`:                                                                        "None",
		`{"Network":"10.0.0.0/8","Backend":{"Type":"vxlan"}}`:                                                                          "VXLAN",
		`{"Network":"10.0.0.0/8","Backend":{"Type":"ipip"}}`:                                                                           "IPIP",
		`{"Network":"10.0.0.0/8","Backend":{"Type":"ipip","DirectRouting":true}}`:                                                      "IPIPCrossSubnet",
		`{"Network":"10.0.0.0/8","Backend":{"Type":"wireguard"}}`:                                                                      "Backend.Type is wireguard, which has no counterpart",
		`{"Network":"10.0.0.0/8"}`:                                                                                                     "Backend.Type is udp",
		`{"Backend":{"Type":"vxlan"}}`:                                                                                                 "The network of flannel-v4 is missing.",
		`{"Network":"10.0.0.0/8","EnableIPv6":true,"IPv6Network":"fd00::/64","Backend":{"Type":"ipip"}}`:                               "carries no IPv6, so there is no pool for fd00::/64.",
		`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/64","Backend":{"Type":"vxlan"},"Network":"none of our business"}`: "fd00::/64",
	} {
		r, err := convert.Flannel([]byte(conf))
		if err != nil {
			t.Errorf("%s: %v", conf, err)
			continue
		}
		if text, err := r.YAML(); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s becomes (%v)\n%s\nwant %s", conf, err, text, want)
		}
	}
}

func TestSelector(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "null",
		"all()":                       "null",
		"global()":                    "null",
		"has(a)":                      "matchExpressions: [{key: a, operator: Exists}]",
		"!has(a.b/c)":                 "matchExpressions: [{key: a.b/c, operator: DoesNotExist}]",
		`a == "b"`:                    "matchLabels: {a: b}",
		`a=='b' && all()`:             "matchLabels: {a: b}",
		`a != "b"`:                    "matchExpressions: [{key: a, operator: NotIn, values: [b]}]",
		`a in {"b", 'c'}`:             "matchExpressions: [{key: a, operator: In, values: [b, c]}]",
		`a not in { "b" }`:            "matchExpressions: [{key: a, operator: NotIn, values: [b]}]",
		`a == "b" && a == "c"`:        "{matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [c]}]}",
		`(has(x)) && (v == "z")`:      "{matchLabels: {v: z}, matchExpressions: [{key: x, operator: Exists}]}",
		`a == "b" || c == "d"`:        "error",
		`a starts with "b"`:           "error",
		`a contains "b"`:              "error",
		`!(a == "b")`:                 "error",
		`has(a) && (b == "c" || d())`: "error",
	} {
		s, err := convert.Selector(text)
		if want == "error" {
			if err == nil {
				t.Errorf("%s becomes %v", text, s)
			}
			continue
		}
		got, marshalErr := yaml.Marshal(s)
		canonical, canonicalErr := yaml.YAMLToJSON([]byte(want))
		gotJSON, gotErr := yaml.YAMLToJSON(got)
		if err != nil || marshalErr != nil || canonicalErr != nil || gotErr != nil || string(gotJSON) != string(canonical) {
			t.Errorf("%s becomes %s (%v), want %s", text, gotJSON, err, canonical)
		}
	}
}
