package uninstall

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Cleaner says how nodes are cleaned: by the verb cleanup of the agent, in a pod on every node.
type Cleaner struct {
	Image       string
	PullSecrets []string
	// PluginFolder and ConfFolder are the container runtime's on the nodes.
	PluginFolder, ConfFolder string
}

// daemonSet returns what cleans every node. The cleaning is an init container, whose end tells that the node is clean;
// after that the pod only stays, as those of a DaemonSet must.
func (c Cleaner) daemonSet(namespace string) *appsv1.DaemonSet {
	labels := map[string]string{nameLabel: cleanupName, "app.kubernetes.io/part-of": "causeway"}
	privileged, readOnly, root := true, true, int64(0)
	command := []string{"/usr/local/bin/causeway-agent", "cleanup", "--cni-bin-dir=/host/opt/cni/bin", "--cni-conf-dir=/host/etc/cni/net.d", "--run-dir=/host/run/causeway"}
	folders := []struct{ name, path, at string }{
		{"cni-bin", c.PluginFolder, "/host/opt/cni/bin"}, {"cni-conf", c.ConfFolder, "/host/etc/cni/net.d"}, {"run", "/run", "/host/run"},
	}
	var volumes []corev1.Volume
	var mounts []corev1.VolumeMount
	orCreate := corev1.HostPathDirectoryOrCreate
	for _, f := range folders {
		volumes = append(volumes, corev1.Volume{Name: f.name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: f.path, Type: &orCreate}}})
		mounts = append(mounts, corev1.VolumeMount{Name: f.name, MountPath: f.at})
	}
	container := func(name string, more ...string) corev1.Container {
		return corev1.Container{
			Name: name, Image: c.Image, ImagePullPolicy: corev1.PullIfNotPresent, Command: append(append([]string(nil), command...), more...),
			VolumeMounts: mounts, TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
			SecurityContext: &corev1.SecurityContext{Privileged: &privileged, ReadOnlyRootFilesystem: &readOnly, RunAsUser: &root},
		}
	}
	no := false
	pod := corev1.PodSpec{
		HostNetwork: true, AutomountServiceAccountToken: &no, PriorityClassName: "system-node-critical",
		Tolerations:    []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		NodeSelector:   map[string]string{corev1.LabelOSStable: "linux"},
		InitContainers: []corev1.Container{container("cleanup")},
		Containers:     []corev1.Container{container("stay", "--stay")},
		Volumes:        volumes,
	}
	for _, name := range c.PullSecrets {
		pod.ImagePullSecrets = append(pod.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: cleanupName, Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{nameLabel: cleanupName}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		},
	}
}
