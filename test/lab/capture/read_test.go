package capture

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

func ipv4(proto, ttl byte, src, dst string, body []byte) []byte {
	b := make([]byte, 20, 20+len(body))
	b[0], b[6], b[8], b[9] = 0x45, 0x40, ttl, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	return append(b, body...)
}

func ethernet(body []byte) []byte {
	return append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, body...)
}

func udp(to uint16, body []byte) []byte {
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b, 40000)
	binary.BigEndian.PutUint16(b[2:], to)
	return append(b, body...)
}

func file(link uint32, packets ...[]byte) []byte {
	b := make([]byte, 24)
	binary.LittleEndian.PutUint32(b, 0xa1b2c3d4)
	binary.LittleEndian.PutUint32(b[20:], link)
	for _, p := range packets {
		head := make([]byte, 16)
		binary.LittleEndian.PutUint32(head[8:], uint32(len(p)))
		b = append(append(b, head...), p...)
	}
	return b
}

func TestRead(t *testing.T) {
	ping := ipv4(ICMP, 63, "10.0.0.1", "10.0.1.1", []byte{8, 0, 0, 0})
	vxlan := append([]byte{8, 0, 0, 0, 0, 0x10, 0, 0}, ethernet(ping)...)
	tests := map[string]struct {
		file []byte
		want string
	}{
		"plain": {file(linkEthernet, ethernet(ping)),
			"02:00:00:00:00:01 > 02:00:00:00:00:02 10.0.0.1 > 10.0.1.1 ttl 63 proto 1 length 24 type 8 code 0"},
		"on tunl0": {file(linkRaw, ping), "10.0.0.1 > 10.0.1.1 ttl 63 proto 1 length 24 type 8 code 0"},
		"IPIP": {file(linkRaw, ipv4(IPIP, 64, "172.30.1.11", "172.30.2.13", ping)),
			"172.30.1.11 > 172.30.2.13 ttl 64 proto 4 length 44 [10.0.0.1 > 10.0.1.1 ttl 63 proto 1 length 24 type 8 code 0]"},
		"VXLAN": {file(linkRaw, ipv4(UDP, 64, "172.30.1.11", "172.30.2.13", udp(vxlanPort, vxlan))),
			"172.30.1.11 > 172.30.2.13 ttl 64 proto 17 length 74 ports 40000 > 4789 vni 4096 " +
				"[02:00:00:00:00:01 > 02:00:00:00:00:02 10.0.0.1 > 10.0.1.1 ttl 63 proto 1 length 24 type 8 code 0]"},
		"ARP": {file(linkEthernet, append(make([]byte, 12), 8, 6)), "00:00:00:00:00:00 > 00:00:00:00:00:00 ethertype 0x0806"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Read(tt.file)
			if err != nil || len(got) != 1 || got[0].String() != tt.want {
				t.Errorf("%v: %v\nwant %s", err, got, tt.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file(linkEthernet, ethernet(ipv4(IPIP, 64, "10.0.0.1", "10.0.0.2", ipv4(TCP, 1, "1.1.1.1", "2.2.2.2", make([]byte, 20))))))
	f.Fuzz(func(t *testing.T, b []byte) {
		packets, _ := Read(b)
		for _, p := range packets {
			_ = p.String()
		}
	})
}
