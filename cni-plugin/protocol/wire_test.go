package protocol_test

import (
	"reflect"
	"testing"

	"github.com/containernetworking/cni/pkg/version"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
)

func TestWeSpeakEveryVersionThatTheCNILibraryKnows(t *testing.T) {
	if want := version.All.SupportedVersions(); !reflect.DeepEqual(protocol.Versions, want) {
		t.Errorf("we speak %v, the library %v", protocol.Versions, want)
	}
}

func TestARequestThatIsCutOffOrOfAnotherKindIsRefused(t *testing.T) {
	whole := protocol.Request{Command: "ADD", ContainerID: "a", PatienceMilliseconds: 24500}.Encode()
	for size := range whole {
		if r, ok := protocol.DecodeRequest(whole[:size]); ok {
			t.Errorf("%d of %d bytes are taken as %+v", size, len(whole), r)
		}
	}
	for _, text := range []string{`{"command":"ADD"}`, "causeway-cni-2\x00ADD\x00a\x00n\x00e\x00x\x001\x00{}", "causeway-cni-1\x00ADD\x00a\x00n\x00e\x00x\x00soon\x00{}"} {
		if r, ok := protocol.DecodeRequest([]byte(text)); ok {
			t.Errorf("%q is taken as %+v", text, r)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("ADD", "K8S_POD_NAME=web-0", `{"name":"causeway"}`, int64(24500))
	f.Add("", "", "\x00\x00", int64(0))
	f.Fuzz(func(t *testing.T, command, args, config string, patience int64) {
		for _, field := range []string{command, args} {
			for _, b := range []byte(field) {
				if b == 0 {
					return // an environment variable can't hold it
				}
			}
		}
		sent := protocol.Request{Command: command, ContainerID: "id", NetworkNamespace: "/run/netns/x", Interface: "eth0", Args: args, Config: []byte(config), PatienceMilliseconds: patience}
		got, ok := protocol.DecodeRequest(sent.Encode())
		sent.PatienceMilliseconds = max(0, patience)
		if tooLong := patience > 1<<50; !ok && !tooLong || ok && !reflect.DeepEqual(got, sent) {
			t.Fatalf("sent %+v, got %+v, %t", sent, got, ok)
		}
	})
}
