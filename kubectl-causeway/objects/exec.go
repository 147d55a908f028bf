package objects

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	kinds "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// Exec runs a program in a container, as kubectl exec does, with that input, and returns what it printed. The error says what it
// printed on its standard error.
func Exec(ctx context.Context, config *rest.Config, namespace, pod, container string, in []byte, argv ...string) ([]byte, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	options := &corev1.PodExecOptions{Container: container, Command: argv, Stdin: in != nil, Stdout: true, Stderr: true}
	target := client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(options, kinds.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", target.String())
	if err != nil {
		return nil, fmt.Errorf("prepare to run %s in pod %s: %w", argv[0], pod, err)
	}
	var out, errs bytes.Buffer
	streams := remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}
	if in != nil {
		streams.Stdin = bytes.NewReader(in)
	}
	if err := executor.StreamWithContext(ctx, streams); err != nil {
		return nil, fmt.Errorf("run %s in pod %s: %w: %s", argv[0], pod, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
