package convert

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// calicoKinds translate one object each. Those of other kinds get a remark.
var calicoKinds = map[string]func(*calico, string, *fields){
	"IPPool":           (*calico).pool,
	"BGPPeer":          (*calico).peer,
	"BGPConfiguration": (*calico).configuration,
	"BGPFilter":        (*calico).filter,
	"IPReservation":    (*calico).reservation,
	"Node":             (*calico).node,
}

// calico collects the objects of all files: settings of nodes go into the one BGPConfiguration.
type calico struct {
	Result
	config   *v1alpha1.BGPConfiguration
	settings []v1alpha1.BGPNodeSettings
}

// Calico translates manifests, as `calicoctl get -o yaml` or `kubectl get -o yaml` print them.
func Calico(texts ...[]byte) (*Result, error) {
	c := &calico{}
	for _, text := range texts {
		objects, err := documents(text)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			c.object(o)
		}
	}
	if len(c.Objects) == 0 && len(c.Remarks) == 0 {
		return nil, fmt.Errorf("the files hold no object of Calico's; get them with kubectl get ippools.crd.projectcalico.org -o yaml, and likewise the other kinds")
	}
	c.finish()
	return &c.Result, nil
}

// documents reads a stream of YAML or JSON, and the elements of lists.
func documents(text []byte) ([]map[string]any, error) {
	var out []map[string]any
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the manifest: %w", err)
		}
		var o map[string]any
		if err := yaml.Unmarshal(document, &o); err != nil {
			return nil, fmt.Errorf("read the manifest: %w", err)
		}
		items, isList := o["items"].([]any)
		switch {
		case isList:
			for _, item := range items {
				if m, ok := item.(map[string]any); ok {
					out = append(out, m)
				}
			}
		case len(o) > 0:
			out = append(out, o)
		}
	}
}

func (c *calico) object(o map[string]any) {
	kind, _ := o["kind"].(string)
	version, _ := o["apiVersion"].(string)
	metadata, _ := o["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	spec, _ := o["spec"].(map[string]any)
	object := kind + "/" + name
	if !strings.Contains(version, "projectcalico.org/") {
		c.leaveOut(object, "It is no object of Calico's (%s).", version)
		return
	}
	translate, ok := calicoKinds[kind]
	if !ok {
		c.leaveOut(object, "Causeway has no counterpart of this kind.")
		return
	}
	translate(c, name, &fields{object: object, path: "spec.", left: spec})
}

func (c *calico) pool(name string, f *fields) {
	p := &v1alpha1.IPPool{}
	p.TypeMeta, p.ObjectMeta = meta("IPPool", name)
	p.Spec = v1alpha1.IPPoolSpec{
		CIDR: f.text("cidr"), BlockSize: f.int32("blockSize"), NATOutgoing: f.boolean("natOutgoing"), Disabled: f.boolean("disabled"),
		DisableBGPExport: f.boolean("disableBGPExport"), NodeSelector: f.selector("nodeSelector"), NamespaceSelector: f.selector("namespaceSelector"),
		AssignmentMode: v1alpha1.AssignmentMode(f.text("assignmentMode")),
	}
	p.Spec.Encapsulation = encapsulation(f, f.text("ipipMode"), f.text("vxlanMode"))
	if uses := f.texts("allowedUses"); len(uses) > 0 {
		if !slices.Contains(uses, "Workload") {
			f.problem("spec.allowedUses is %s: pools of Causeway are for pods.", strings.Join(uses, ", "))
		} else if slices.Contains(uses, "LoadBalancer") {
			f.remark("spec.allowedUses: Causeway allocates no addresses for Services.")
		}
	}
	c.add(f, p)
}

func encapsulation(f *fields, ipip, vxlan string) v1alpha1.Encapsulation {
	known := map[string]v1alpha1.Encapsulation{
		"Never Never": v1alpha1.EncapsulationNone, "Always Never": v1alpha1.EncapsulationIPIP, "CrossSubnet Never": v1alpha1.EncapsulationIPIPCrossSubnet,
		"Never Always": v1alpha1.EncapsulationVXLAN, "Never CrossSubnet": v1alpha1.EncapsulationVXLANCrossSubnet,
	}
	e, ok := known[otherwise(ipip, "Never")+" "+otherwise(vxlan, "Never")]
	if !ok {
		f.problem("spec.ipipMode %s and spec.vxlanMode %s don't go together.", ipip, vxlan)
	}
	return e
}

func (c *calico) reservation(name string, f *fields) {
	o := &v1alpha1.IPReservation{}
	o.TypeMeta, o.ObjectMeta = meta("IPReservation", name)
	o.Spec.Addresses = f.texts("reservedCIDRs")
	c.add(f, o)
}

// node makes settings of a node's BGP; all else of a node is found by Causeway itself.
func (c *calico) node(name string, f *fields) {
	bgp := f.inner("bgp")
	if bgp == nil {
		return
	}
	s := v1alpha1.BGPNodeSettings{NodeSelector: hostname(name), ASNumber: bgp.as("asNumber"), RouteReflectorClusterID: bgp.text("routeReflectorClusterID")}
	for _, problem := range bgp.problems {
		c.leaveOut(f.object, "%s", problem)
	}
	if s.ASNumber != nil || s.RouteReflectorClusterID != "" {
		c.settings = append(c.settings, s)
		c.remark(f.object, "Its BGP settings are in spec.nodes of the BGPConfiguration, for the node with the label kubernetes.io/hostname=%s.", name)
	}
}

// finish puts what nodes have into the BGPConfiguration, and says what Calico does without one.
func (c *calico) finish() {
	bgp := slices.ContainsFunc(c.Objects, func(o client.Object) bool {
		switch o.(type) {
		case *v1alpha1.IPPool, *v1alpha1.IPReservation:
			return false
		}
		return true
	})
	if c.config == nil && (bgp || len(c.settings) > 0) {
		c.config = &v1alpha1.BGPConfiguration{Spec: v1alpha1.BGPConfigurationSpec{ASNumber: defaultAS, NodeToNodeMesh: v1alpha1.NodeToNodeMesh{Enabled: true}}}
		c.config.TypeMeta, c.config.ObjectMeta = meta("BGPConfiguration", "default")
		c.Objects = append(c.Objects, c.config)
		c.remark("BGPConfiguration/default", "It was not among the files. Calico's defaults were taken: AS number 64512, and a mesh among all nodes.")
	}
	if c.config != nil {
		c.config.Spec.Nodes = c.settings
	}
	if c.config == nil && len(c.Objects) > 0 {
		c.remark("BGPConfiguration/default", "It was not among the files. Calico's nodes have a BGP mesh by default, Causeway's have none; pools with an encapsulation need none.")
	}
}

func otherwise(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
