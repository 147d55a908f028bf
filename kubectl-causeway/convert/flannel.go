package convert

import (
	"encoding/json"
	"fmt"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Flannel translates a net-conf.json, or the ConfigMap that holds one.
func Flannel(text []byte) (*Result, error) {
	conf, err := netConf(text)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	const object = "flannel/net-conf.json"
	f := &fields{object: object, left: conf}
	backend := f.inner("Backend")
	if backend == nil {
		backend = &fields{object: object, path: "Backend.", left: map[string]any{"Type": "udp"}}
	}
	encapsulation := flannelBackend(backend)
	v4, given := take[bool](f, "EnableIPv4")
	v6 := f.boolean("EnableIPv6")
	networks := map[string]string{"flannel-v4": f.text("Network"), "flannel-v6": f.text("IPv6Network")}
	wanted := map[string]bool{"flannel-v4": v4 || !given, "flannel-v6": v6}
	for _, name := range []string{"SubnetLen", "IPv6SubnetLen"} {
		if n, ok := f.number(name); ok {
			f.remark("%s is %d: Causeway's nodes get smaller blocks (/26, /122), as many as they need.", name, n)
		}
	}
	f.join(backend, false)
	f.rest()
	for _, problem := range f.problems {
		r.leaveOut(object, "%s", problem)
	}
	if r.LeftOut() {
		return r, nil
	}
	for _, remark := range f.remarks {
		r.remark(object, "%s", remark)
	}
	ipip := encapsulation == v1alpha1.EncapsulationIPIP || encapsulation == v1alpha1.EncapsulationIPIPCrossSubnet
	for _, name := range []string{"flannel-v4", "flannel-v6"} {
		switch {
		case !wanted[name]:
		case networks[name] == "":
			r.leaveOut(object, "The network of %s is missing.", name)
		case name == "flannel-v6" && ipip:
			r.leaveOut(object, "The backend ipip carries no IPv6, so there is no pool for %s.", networks[name])
		default:
			p := &v1alpha1.IPPool{Spec: v1alpha1.IPPoolSpec{CIDR: networks[name], Encapsulation: encapsulation, NATOutgoing: true}}
			p.TypeMeta, p.ObjectMeta = meta("IPPool", name)
			r.Objects = append(r.Objects, p)
		}
	}
	r.remark(object, "natOutgoing is true as with flannel's --ip-masq; take it away if your flanneld runs without.")
	return r, nil
}

// flannelBackend returns how packets travel. Where Causeway knows no such way, it notes a problem.
func flannelBackend(f *fields) v1alpha1.Encapsulation {
	kind, direct := f.text("Type"), f.boolean("DirectRouting")
	if vni, ok := f.number("VNI"); ok {
		f.remark("Backend.VNI is %d: start all agents with --vxlan-vni=%d to keep it.", vni, vni)
	}
	if port, ok := f.number("Port"); ok {
		f.remark("Backend.Port is %d: start all agents with --vxlan-port=%d to keep it.", port, port)
	}
	switch {
	case kind == "host-gw":
		return v1alpha1.EncapsulationNone
	case kind == "vxlan" && direct:
		return v1alpha1.EncapsulationVXLANCrossSubnet
	case kind == "vxlan":
		return v1alpha1.EncapsulationVXLAN
	case kind == "ipip" && direct:
		return v1alpha1.EncapsulationIPIPCrossSubnet
	case kind == "ipip":
		return v1alpha1.EncapsulationIPIP
	}
	f.problem("Backend.Type is %s, which has no counterpart; choose vxlan, host-gw or ipip.", kind)
	return ""
}

// netConf finds the configuration in the text: it is the whole, or a key of a ConfigMap, alone or among the objects of flannel's manifest.
func netConf(text []byte) (map[string]any, error) {
	objects, err := documents(text)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if _, isObject := o["kind"]; !isObject && len(objects) == 1 {
			return o, nil
		}
		data, _ := o["data"].(map[string]any)
		inner, ok := data["net-conf.json"].(string)
		if !ok {
			continue
		}
		var conf map[string]any
		if err := json.Unmarshal([]byte(inner), &conf); err != nil {
			return nil, fmt.Errorf("read net-conf.json: %w", err)
		}
		return conf, nil
	}
	return nil, fmt.Errorf("the file holds neither flannel's net-conf.json nor a ConfigMap with that key; get it with kubectl -n kube-flannel get configmap kube-flannel-cfg -o yaml")
}
