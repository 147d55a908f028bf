package cniserver

import (
	"bytes"
	"fmt"
	"net"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// annotatedInterface is the interface that a pod's annotation is about. Others of the pod, from Multus for example, share the annotations.
const annotatedInterface = "eth0"

// hardwareAddress returns the hardware address that a new interface gets: the one that somebody asks for, else one of its own. No pool
// has a say: the address is seen on the pod's own link only, whose other end is the node, so that no other pod can be confused by it.
func (c *call) hardwareAddress(fromArgs string) (string, *protocol.Error) {
	annotated := ""
	if c.Interface == annotatedInterface {
		annotated = c.config.RuntimeConfig.PodAnnotations[v1alpha1.AnnotationMAC]
	}
	asked, askedBy := net.HardwareAddr(nil), ""
	for _, from := range []struct {
		source, value string
		code          uint
	}{
		{"the annotation " + v1alpha1.AnnotationMAC, annotated, protocol.CodeInvalidConfig},
		{"runtimeConfig.mac of the network configuration", c.config.RuntimeConfig.MAC, protocol.CodeInvalidConfig},
		{"MAC of CNI_ARGS", fromArgs, protocol.CodeInvalidEnvironment},
	} {
		if from.value == "" {
			continue
		}
		mac, err := readMAC(from.value)
		if err != nil {
			return "", cniError(from.code, "Pod %s/%s can't have the hardware address that %s asks for: %v.", c.namespace, c.pod, from.source, err)
		}
		if asked != nil && !bytes.Equal(mac, asked) {
			return "", cniError(from.code, "Pod %s/%s can't have two hardware addresses for %s: %s asks for %s, %s for %s.", c.namespace, c.pod, c.Interface, askedBy, asked, from.source, mac)
		}
		asked, askedBy = mac, from.source
	}
	if asked == nil {
		asked = names.PodMAC(c.ContainerID, c.Interface)
	}
	return asked.String(), nil
}

// readMAC reads a hardware address that an Ethernet interface can have.
func readMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6:
		return nil, fmt.Errorf("%q is no hardware address of six bytes, such as 02:00:5e:10:00:01", text)
	case mac[0]&1 != 0:
		return nil, fmt.Errorf("%s is a group address (the last bit of its first byte is 1), which no interface can have", mac)
	case bytes.Equal(mac, make([]byte, 6)):
		return nil, fmt.Errorf("%s is not an address", mac)
	case bytes.Equal(mac, names.HostMAC):
		return nil, fmt.Errorf("%s is the address of the pod's gateway, the node's end of its link", mac)
	}
	return mac, nil
}
