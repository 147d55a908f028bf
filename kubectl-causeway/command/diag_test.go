package command

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
)

// agentPod has a container that has restarted, and one that has not.
func agentPod() corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "causeway-agent-x"},
		Spec: corev1.PodSpec{NodeName: "node1", InitContainers: []corev1.Container{{Name: "install", Image: "causeway:v1"}},
			Containers: []corev1.Container{{Name: "agent", Image: "causeway:v1"}, {Name: "speaker", Image: "causeway:v1"}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "agent", RestartCount: 2, ImageID: "causeway@sha256:cafe"}, {Name: "speaker"}}},
	}
}

func TestOnlyContainersThatHaveRestartedHaveAnEarlierLog(t *testing.T) {
	pod := agentPod()
	for container, want := range map[string]bool{"install": false, "agent": true, "speaker": false} {
		if got := restarted(&pod, container); got != want {
			t.Errorf("container %s has an earlier log: %t", container, got)
		}
	}
}

func TestVersionsOfABundle(t *testing.T) {
	c := &objects.Cluster{Server: "v1.37.0"}
	c.SystemPods.Items = []corev1.Pod{agentPod()}
	c.Nodes.Items = []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "node1"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{
		KubeletVersion: "v1.36.1", ContainerRuntimeVersion: "cri-o://1.34.0", KernelVersion: "6.1.0"}}}}
	got := string(printed("versions.txt", func(p *text.Page) { printVersions(p, c) }).Text)
	for _, want := range []string{"kubectl-causeway ", "Kubernetes v1.37.0", "causeway:v1", "causeway@sha256:cafe", "v1.36.1", "cri-o://1.34.0", "6.1.0"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}
