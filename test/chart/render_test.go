package chart_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	root      = "../.."
	chartPath = root + "/charts/causeway"
)

// run runs one of the programs of bin/ and returns what it prints.
func run(t *testing.T, environment []string, program string, args ...string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(root, "bin", program), args...)
	c.Env = append(os.Environ(), environment...)
	var out, errors bytes.Buffer
	c.Stdout, c.Stderr = &out, &errors
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, errors.String())
	}
	return out.String(), err
}

func render(t *testing.T, args ...string) (map[string]*unstructured.Unstructured, error) {
	t.Helper()
	out, err := run(t, nil, "helm", append([]string{"template", "causeway", chartPath}, args...)...)
	if err != nil {
		return nil, err
	}
	return objects(t, out), nil
}

// objects are those of a stream of YAML, by kind and name.
func objects(t *testing.T, text string) map[string]*unstructured.Unstructured {
	t.Helper()
	out := map[string]*unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) == 0 {
			continue
		}
		name := o.GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
		if out[name] != nil {
			t.Errorf("%s is there twice", name)
		}
		out[name] = o
	}
}

// The chart with its default values and config/default are the same objects: whoever prefers kustomize gets no other Causeway.
func TestChartAndKustomizeAreOne(t *testing.T) {
	chart, err := render(t, "--no-hooks")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, chart, "config/default")
	all, err := render(t, "--show-only", "templates/hooks/setup.yaml")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, all, "config/uninstall")
	monitors, err := render(t, "--set", "podMonitor.enabled=true", "--show-only", "templates/cluster/podmonitors.yaml")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, monitors, "config/prometheus")
}

func compare(t *testing.T, chart map[string]*unstructured.Unstructured, folder string) {
	t.Helper()
	text, err := run(t, nil, "kubectl", "kustomize", filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	kustomize := objects(t, text)
	for name, o := range chart {
		if other := kustomize[name]; other == nil {
			t.Errorf("%s is in the chart, but not in %s; run make manifests, or add it to a kustomization.yaml", name, folder)
		} else if !reflect.DeepEqual(o.Object, other.Object) {
			t.Errorf("%s differs between chart and %s; run make manifests\nchart: %v\nkustomize: %v", name, folder, o.Object, other.Object)
		}
	}
	for name := range kustomize {
		if chart[name] == nil {
			t.Errorf("%s is in %s, but not in the chart", name, folder)
		}
	}
}

// A wrong value is refused before anything is sent, and the answer names it.
func TestWrongValuesAreRefused(t *testing.T) {
	for _, c := range []struct{ set, says string }{
		{"mtu=100", "/mtu"},
		{"vxlan.vni=16777216", "/vxlan/vni"},
		{"vxlan.port=0", "/vxlan/port"},
		{"firstPools.ipv4=10.0.0.0", "/firstPools/ipv4"},
		{"firstPools.ipv6=10.0.0.0/8", "/firstPools/ipv6"},
		{"firstPools.encapsulation=GRE", "'None', 'IPIP', 'IPIPCrossSubnet', 'VXLAN', 'VXLANCrossSubnet'"},
		{"image.pullPolicy=Sometimes", "'Always', 'IfNotPresent', 'Never'"},
		{"image.digest=sha256:12", "/image/digest"},
		{"agent.maxUnavailable=0", "/agent/maxUnavailable"},
		{"agent.metrics.port=70000", "/agent/metrics/port"},
		{"agent.livenessProbe.periodSeconds=0", "/agent/livenessProbe/periodSeconds"},
		{"controller.replicas=0", "/controller/replicas"},
		{"paths.cniBin=opt/cni/bin", "/paths/cniBin"},
		{"nodeAddress.cidrs={192.168.0.0}", "/nodeAddress/cidrs"},
		{"agnet.verbosity=1", "agnet"},
		{"podMonitor.interval=often", "/podMonitor/interval"},
	} {
		if _, err := render(t, "--set", c.set); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("--set %s: %v", c.set, err)
		}
	}
}

// Values reach the flags that they are for, and every flag is one that the programs know.
func TestValuesReachTheFlags(t *testing.T) {
	chart, err := render(t, "--set", "mtu=1400,vxlan.vni=5000000,vxlan.port=8472,nodeAddress.interfaces={bond0,eth*},nodeAddress.cidrs={192.168.0.0/16},"+
		"agent.metrics.port=9999,agent.metrics.secure=false,agent.healthPort=9998,agent.verbosity=1,controller.metrics.port=9997,"+
		"agent.livenessProbe.periodSeconds=7,agent.livenessProbe.timeoutSeconds=6,"+
		"image.repository=registry.example:5000/net/causeway,image.digest=sha256:"+strings.Repeat("a", 64)+",paths.cniBin=/usr/lib/cni,crds.keep=true,"+
		"firstPools.ipv4=10.1.0.0/16,firstPools.ipv6=fd00:1::/48,firstPools.encapsulation=IPIP,podMonitor.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	agent := chart["DaemonSet.apps causeway-system/causeway-agent"]
	contains(t, words(agent.Object), "--mtu=1400", "--vxlan-vni=5000000", "--vxlan-port=8472", "--node-address-interfaces=bond0,eth*", "--node-address-cidrs=192.168.0.0/16",
		"--metrics-bind-address=:9999", "--metrics-secure=false", "--health-probe-bind-address=127.0.0.1:9998", "--verbosity=1",
		"registry.example:5000/net/causeway@sha256:"+strings.Repeat("a", 64), "/usr/lib/cni")
	containers, _, _ := unstructured.NestedSlice(agent.Object, "spec", "template", "spec", "containers")
	if probe := fmt.Sprint(containers[0].(map[string]any)["livenessProbe"]); !strings.Contains(probe, "periodSeconds:7 timeoutSeconds:6") {
		t.Errorf("the agent's liveness probe is %s", probe)
	}
	contains(t, words(chart["Deployment.apps causeway-system/causeway-controller"].Object), "--metrics-bind-address=:9997")
	contains(t, words(chart["Job.batch causeway-system/causeway-first-pools"].Object), "--cidr=10.1.0.0/16", "--cidr=fd00:1::/48", "--encapsulation=IPIP", "--nat-outgoing=true")
	contains(t, words(chart["Job.batch causeway-system/causeway-uninstall"].Object), "--keep-crds", "--cni-bin-dir=/usr/lib/cni")
	if kept := chart["CustomResourceDefinition.apiextensions.k8s.io /ippools.causeway.dev"].GetAnnotations()["helm.sh/resource-policy"]; kept != "keep" {
		t.Errorf("the definitions are not kept: %q", kept)
	}
	if chart["PodMonitor.monitoring.coreos.com causeway-system/causeway-agent"] == nil {
		t.Error("there is no PodMonitor")
	}
	knowsFlags(t, chart)
}

var flag = regexp.MustCompile(`^--([a-z-]+)`)

// knowsFlags asks our programs for help about every command that the chart starts.
func knowsFlags(t *testing.T, chart map[string]*unstructured.Unstructured) {
	t.Helper()
	found := 0
	for name, o := range chart {
		spec, _, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec")
		for _, kind := range []string{"initContainers", "containers"} {
			containers, _, _ := unstructured.NestedSlice(spec, kind)
			for _, c := range containers {
				command, _, _ := unstructured.NestedStringSlice(c.(map[string]any), "command")
				found++
				help := []string{"--help"}
				if len(command) > 1 && !strings.HasPrefix(command[1], "-") {
					help = []string{command[1], "--help"}
				}
				text, err := run(t, nil, filepath.Base(command[0]), help...)
				if err != nil {
					t.Fatal(err)
				}
				for _, word := range command {
					if m := flag.FindStringSubmatch(word); m != nil && !strings.Contains(text, "--"+m[1]+" ") {
						t.Errorf("%s: %s has no flag --%s", name, command[0], m[1])
					}
				}
			}
		}
	}
	if found < 6 {
		t.Errorf("only %d containers were found", found)
	}
}

// words are all strings in an object.
func words(o any) []string {
	switch v := o.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, words(e)...)
		}
		return out
	case map[string]any:
		var out []string
		for _, e := range v {
			out = append(out, words(e)...)
		}
		return out
	}
	return nil
}

func contains(t *testing.T, all []string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !slices.Contains(all, w) {
			t.Errorf("%s is missing in %q", w, all)
		}
	}
}

// What kept nodes from having an agent, or a cluster from finishing an update, in clusters of one or two nodes.
func TestWorkloadsFitSmallClusters(t *testing.T) {
	chart, err := render(t, "--no-hooks")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"DaemonSet.apps causeway-system/causeway-agent", "Deployment.apps causeway-system/causeway-controller"} {
		spec, _, _ := unstructured.NestedMap(chart[name].Object, "spec", "template", "spec")
		containers, _, _ := unstructured.NestedSlice(spec, "containers")
		for _, c := range containers {
			if ports, found := c.(map[string]any)["ports"]; found {
				t.Errorf("%s names ports %v: on the node's network they are host ports, and two pods would not fit on one node", name, ports)
			}
			if policy := c.(map[string]any)["imagePullPolicy"]; policy != "IfNotPresent" {
				t.Errorf("%s: imagePullPolicy %v", name, policy)
			}
		}
		if _, required, _ := unstructured.NestedFieldNoCopy(spec, "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"); required {
			t.Errorf("%s: a second replica would not fit on one node", name)
		}
		volumes, _, _ := unstructured.NestedSlice(spec, "volumes")
		for _, v := range volumes {
			if kind, found, _ := unstructured.NestedString(v.(map[string]any), "hostPath", "type"); found && kind != "DirectoryOrCreate" {
				t.Errorf("%s: a node without the folder of %v gets no pod", name, v)
			}
		}
	}
	surge, _, _ := unstructured.NestedInt64(chart["Deployment.apps causeway-system/causeway-controller"].Object, "spec", "strategy", "rollingUpdate", "maxSurge")
	if surge != 0 {
		t.Errorf("an update needs room for %d more controllers", surge)
	}
	unavailable, _, _ := unstructured.NestedString(chart["DaemonSet.apps causeway-system/causeway-agent"].Object, "spec", "updateStrategy", "rollingUpdate", "maxUnavailable")
	if !strings.HasSuffix(unavailable, "%") {
		t.Errorf("an update takes %q agents at a time, however many nodes there are", unavailable)
	}
}
