package convert

import (
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func (c *calico) peer(name string, f *fields) {
	p := &v1alpha1.BGPPeer{}
	p.TypeMeta, p.ObjectMeta = meta("BGPPeer", name)
	_, nodes := f.left["peerSelector"]
	p.Spec = v1alpha1.BGPPeerSpec{
		ASNumber: f.as("asNumber"), LocalASNumber: f.as("localASNumber"), NodeSelector: f.selector("nodeSelector"), PeerSelector: f.selector("peerSelector"),
		KeepOriginalNextHop: f.boolean("keepOriginalNextHop"), NextHopMode: v1alpha1.NextHopMode(f.text("nextHopMode")),
		SourceAddress: v1alpha1.SourceAddressMode(f.text("sourceAddress")), MaxRestartTime: f.duration("maxRestartTime"),
		KeepaliveTime: f.duration("keepaliveTime"), NumAllowedLocalASNumbers: f.int32("numAllowedLocalASNumbers"), TTLSecurity: f.int32("ttlSecurity"),
		ReachableBy: f.text("reachableBy"), Filters: f.texts("filters"), Password: password(f, "password"),
	}
	if nodes && p.Spec.PeerSelector == nil {
		p.Spec.PeerSelector = &metav1.LabelSelector{} // all nodes
	}
	if node := f.text("node"); node != "" {
		p.Spec.NodeSelector = hostname(node)
	}
	c.peerAddress(f, p)
	if f.text("localWorkloadSelector") != "" {
		f.problem("spec.localWorkloadSelector: Causeway has no sessions with pods.")
	}
	if p.Spec.PeerIP == "" && p.Spec.PeerSelector == nil {
		f.problem("The peer has neither spec.peerIP nor spec.peerSelector.")
	}
	c.add(f, p)
}

// peerAddress splits "192.0.2.1:1790" and "[2001:db8::1]:1790".
func (c *calico) peerAddress(f *fields, p *v1alpha1.BGPPeer) {
	text := f.text("peerIP")
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		p.Spec.PeerIP = strings.Trim(text, "[]")
		return
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		f.problem("spec.peerIP: %s is no port.", port)
	}
	p.Spec.PeerIP, p.Spec.Port = host, int32(n)
}

func hostname(node string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/hostname": node}}
}

func password(f *fields, name string) *v1alpha1.BGPPassword {
	part := f.inner(name)
	if part == nil {
		return nil
	}
	ref := part.inner("secretKeyRef")
	if ref == nil {
		f.problem("%s%s refers to no Secret.", f.path, name)
		return nil
	}
	out := &v1alpha1.BGPPassword{SecretKeyRef: corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: ref.text("name")}, Key: ref.text("key")}}
	f.remark("Copy the Secret %s, which has the password, into the namespace %s.", out.SecretKeyRef.Name, v1alpha1.BGPNamespace)
	f.join(ref, false)
	f.join(part, false)
	return out
}

func (c *calico) configuration(name string, f *fields) {
	if name != "default" {
		c.leaveOut(f.object, "Causeway has one BGPConfiguration, default; settings of one node go into its spec.nodes.")
		return
	}
	o := &v1alpha1.BGPConfiguration{}
	o.TypeMeta, o.ObjectMeta = meta("BGPConfiguration", name)
	mesh, given := take[bool](f, "nodeToNodeMeshEnabled")
	o.Spec.NodeToNodeMesh = v1alpha1.NodeToNodeMesh{Enabled: mesh || !given, Password: password(f, "nodeMeshPassword"), MaxRestartTime: f.duration("nodeMeshMaxRestartTime")}
	o.Spec.ASNumber = defaultAS
	if n := f.as("asNumber"); n != nil {
		o.Spec.ASNumber = *n
	}
	port, _ := f.number("listenPort")
	o.Spec.ListenPort = int32(port)
	o.Spec.ServiceClusterIPs, o.Spec.ServiceExternalIPs, o.Spec.ServiceLoadBalancerIPs = cidrs(f, "serviceClusterIPs"), cidrs(f, "serviceExternalIPs"), cidrs(f, "serviceLoadBalancerIPs")
	o.Spec.PrefixAdvertisements = advertisements(f)
	if mode := f.text("bindMode"); mode == "None" {
		f.remark("spec.bindMode None: Causeway's speaker listens on the node's own addresses; name others in listenAddresses.")
	}
	if level := f.text("logSeverityScreen"); level != "" && level != "Info" {
		f.remark("spec.logSeverityScreen: set the flag -v of causeway-agent instead.")
	}
	before := len(c.Objects)
	c.add(f, o)
	if len(c.Objects) > before {
		c.config = o
	}
}

const defaultAS = 64512

func cidrs(f *fields, name string) []v1alpha1.ServiceCIDR {
	var out []v1alpha1.ServiceCIDR
	for _, part := range f.list(name) {
		out = append(out, v1alpha1.ServiceCIDR{CIDR: part.text("cidr")})
		f.join(part, false)
	}
	return out
}

// advertisements replaces the names of communities by their values.
func advertisements(f *fields) []v1alpha1.PrefixAdvertisement {
	values := map[string]string{}
	for _, part := range f.list("communities") {
		values[part.text("name")] = part.text("value")
		f.join(part, false)
	}
	var out []v1alpha1.PrefixAdvertisement
	for _, part := range f.list("prefixAdvertisements") {
		a := v1alpha1.PrefixAdvertisement{CIDR: part.text("cidr")}
		for _, community := range part.texts("communities") {
			a.Communities = append(a.Communities, v1alpha1.Community(otherwise(values[community], community)))
		}
		f.join(part, false)
		out = append(out, a)
	}
	return out
}

func (c *calico) filter(name string, f *fields) {
	o := &v1alpha1.BGPFilter{}
	o.TypeMeta, o.ObjectMeta = meta("BGPFilter", name)
	o.Spec = v1alpha1.BGPFilterSpec{ImportV4: rules(f, "importV4"), ExportV4: rules(f, "exportV4"), ImportV6: rules(f, "importV6"), ExportV6: rules(f, "exportV6")}
	c.add(f, o)
}

func rules(f *fields, name string) []v1alpha1.BGPFilterRule {
	var out []v1alpha1.BGPFilterRule
	for _, part := range f.list(name) {
		r := v1alpha1.BGPFilterRule{
			Action: v1alpha1.FilterAction(part.text("action")), CIDR: part.text("cidr"), MatchOperator: v1alpha1.CIDRMatch(part.text("matchOperator")),
			Interface: part.text("interface"), Source: v1alpha1.FilterSource(part.text("source")),
		}
		if length := part.inner("prefixLength"); length != nil {
			r.PrefixLength = &v1alpha1.PrefixLength{Min: length.int32("min"), Max: length.int32("max")}
			part.join(length, true)
		}
		if match := part.inner("communities"); match != nil {
			for _, value := range match.texts("values") {
				r.Communities = append(r.Communities, v1alpha1.Community(value))
			}
			part.join(match, true)
		}
		r.ASPathPrefix = numbers(part, "asPathPrefix")
		r.Operations = operations(part)
		f.join(part, true)
		out = append(out, r)
	}
	return out
}

func operations(f *fields) []v1alpha1.BGPFilterOperation {
	var out []v1alpha1.BGPFilterOperation
	for _, part := range f.list("operations") {
		var o v1alpha1.BGPFilterOperation
		if add := part.inner("addCommunity"); add != nil {
			community := v1alpha1.Community(add.text("value"))
			o.AddCommunity = &community
			part.join(add, true)
		}
		if prepend := part.inner("prependASPath"); prepend != nil {
			o.PrependASPath = numbers(prepend, "prefix")
			part.join(prepend, true)
		}
		f.join(part, true)
		out = append(out, o)
	}
	return out
}

func numbers(f *fields, name string) []int64 {
	list, _ := take[[]any](f, name)
	var out []int64
	for _, v := range list {
		n, err := as(v)
		if err != nil {
			f.problem("%s%s: %v.", f.path, name, err)
		}
		out = append(out, n)
	}
	return out
}
