package controlplane

import (
	"context"
	"fmt"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// tokenSeconds is as long as the lab's certificates live, so no token ends during a lab.
const tokenSeconds = int64(365 * 24 * 3600)

// AgentToken returns a token of the agents' service account. It is bound to the pod of a node's agent, which is created if
// it is missing, and carries the node's name (authentication.kubernetes.io/node-name), as the one that a kubelet asks for.
func (c *ControlPlane) AgentToken(ctx context.Context, node string) (string, error) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: agentAccount + "-" + node}}
	pod.Spec = corev1.PodSpec{
		NodeName: node, ServiceAccountName: agentAccount, HostNetwork: true,
		Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		Containers:  []corev1.Container{{Name: "agent", Image: "none"}},
	}
	if err := client.IgnoreAlreadyExists(c.Client.Create(ctx, pod)); err != nil {
		return "", fmt.Errorf("create the agent's pod of node %s: %w", node, err)
	}
	if err := c.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
		return "", fmt.Errorf("get the agent's pod of node %s: %w", node, err)
	}
	return c.token(ctx, &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID})
}

// UnboundAgentToken returns a token of the agents' service account that belongs to no pod and no node.
func (c *ControlPlane) UnboundAgentToken(ctx context.Context) (string, error) {
	return c.token(ctx, nil)
}

func (c *ControlPlane) token(ctx context.Context, to *authenticationv1.BoundObjectReference) (string, error) {
	seconds := tokenSeconds
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, BoundObjectRef: to}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: agentAccount}}
	if err := c.Client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("request a token of service account %s: %w", agentAccount, err)
	}
	return request.Status.Token, nil
}

// AgentKubeconfig writes a kubeconfig with the token of a node's agent, and returns its path.
func (c *ControlPlane) AgentKubeconfig(ctx context.Context, node string) (string, error) {
	token, err := c.AgentToken(ctx, node)
	if err != nil {
		return "", err
	}
	text, err := kubeconfig(c.server(), c.authority.pem, &clientcmdapi.AuthInfo{Token: token})
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.o.Dir, node+".kubeconfig")
	return path, writeFiles(map[string][]byte{path: text})
}
