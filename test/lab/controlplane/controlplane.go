// Package controlplane runs the real etcd and kube-apiserver with certificates, RBAC and our CRDs. It takes the
// manifests of config/ in and hands credentials out. It must run in a network namespace of its own: ports are fixed.
package controlplane

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/retry"
)

// Names by which Causeway's processes are known to the API server, as in a cluster.
const (
	// AgentGroup is the group of all service accounts of our namespace.
	AgentGroup     = "system:serviceaccounts:" + v1alpha1.SystemNamespace
	ControllerUser = "system:serviceaccount:" + v1alpha1.SystemNamespace + ":causeway-controller"

	agentAccount = "causeway-agent"
	port         = 6443
)

// Options say where things are.
type Options struct {
	// Dir is an empty folder for data, credentials and logs, best on tmpfs.
	Dir string
	// Bin holds etcd and kube-apiserver, Config the manifests; without Config the cluster is one without Causeway.
	Bin, Config string
	// Address is where nodes reach the API server. This machine has it.
	Address netip.Addr
	// Whole starts the scheduler and the controller manager too, and an API server that asks of kubelets and pods what it asks
	// in a cluster.
	Whole bool
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	// Config and Client are the administrator's.
	Config *rest.Config
	Client client.WithWatch

	o         Options
	authority *authority
	etcd, api *Daemon
	others    []*Daemon // scheduler and controller manager
}

// Start starts etcd and the API server, and applies the CRDs, the namespaces, the roles and the admission policies.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	c := &ControlPlane{o: o}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// Stop ends all processes.
func (c *ControlPlane) Stop() {
	for _, d := range c.others {
		d.Kill()
	}
	c.api.Kill()
	c.etcd.Kill()
}

// Pause makes the API server silent: connections stay, answers don't come.
func (c *ControlPlane) Pause() error { return c.api.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (c *ControlPlane) Resume() error { return c.api.Signal(syscall.SIGCONT) }

// Kill ends the API server at once; its data stays.
func (c *ControlPlane) Kill() { c.api.Kill() }

// Restart starts the API server again on the same data, and waits until it is ready.
func (c *ControlPlane) Restart(ctx context.Context) error {
	c.api.Kill()
	if err := c.startAPI(); err != nil {
		return err
	}
	return c.waitReady(ctx)
}

// Kubeconfig writes a kubeconfig for a user, and returns its path.
func (c *ControlPlane) Kubeconfig(file, user string, groups ...string) (string, error) {
	path := filepath.Join(c.o.Dir, file)
	cert, key, err := c.authority.issue(user, groups, nil)
	if err != nil {
		return "", err
	}
	text, err := kubeconfig(c.server(), c.authority.pem, &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key})
	if err != nil {
		return "", err
	}
	return path, writeFiles(map[string][]byte{path: text})
}

// AdminKubeconfig is the path of the administrator's kubeconfig.
func (c *ControlPlane) AdminKubeconfig() string { return filepath.Join(c.o.Dir, "admin.kubeconfig") }

func (c *ControlPlane) server() string {
	return "https://" + netip.AddrPortFrom(c.o.Address, port).String()
}

func (c *ControlPlane) start(ctx context.Context) (err error) {
	if c.authority, err = newAuthority(); err != nil {
		return err
	}
	if err := c.writeCredentials(); err != nil {
		return err
	}
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.AdminKubeconfig()); err != nil {
		return fmt.Errorf("read the administrator's kubeconfig: %w", err)
	}
	c.Config.QPS = -1
	if err := c.startEtcd(); err != nil {
		return err
	}
	if err := c.startAPI(); err != nil {
		return err
	}
	if err := c.waitReady(ctx); err != nil {
		return err
	}
	if c.o.Whole {
		if err := c.startOthers(); err != nil {
			return err
		}
	}
	return c.prepare(ctx)
}

func (c *ControlPlane) writeCredentials() error {
	dir := c.o.Dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the control plane: %w", err)
	}
	cert, key, err := c.authority.issue("kube-apiserver", nil, c.addresses(), serverNames...)
	if err != nil {
		return err
	}
	_, account, err := c.authority.issue("service-accounts", nil, nil)
	if err != nil {
		return err
	}
	if err := writeFiles(map[string][]byte{
		filepath.Join(dir, "ca.crt"): c.authority.pem, filepath.Join(dir, "api.crt"): cert,
		filepath.Join(dir, "api.key"): key, filepath.Join(dir, "accounts.key"): account,
	}); err != nil {
		return err
	}
	if c.o.Whole {
		if err := c.writeKubeletClient(); err != nil {
			return err
		}
	}
	_, err = c.Kubeconfig("admin.kubeconfig", "lab-admin", "system:masters")
	return err
}

func (c *ControlPlane) startEtcd() (err error) {
	c.etcd, err = StartDaemon(c.o.Dir, filepath.Join(c.o.Bin, "etcd"), "--data-dir="+filepath.Join(c.o.Dir, "etcd"),
		"--unsafe-no-fsync", "--log-level=warn")
	return err
}

func (c *ControlPlane) startAPI() (err error) {
	in := func(name string) string { return filepath.Join(c.o.Dir, name) }
	args := []string{
		"--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address=" + c.o.Address.String(), fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + in("api.crt"), "--tls-private-key-file=" + in("api.key"), "--client-ca-file=" + in("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + in("accounts.key"),
		"--service-account-signing-key-file=" + in("accounts.key"),
		"--anonymous-auth=false", "--allow-privileged=true", "--profiling=false", "--enable-aggregator-routing=false",
	}
	if c.o.Whole {
		args = append(args, c.wholeAPI()...)
	} else {
		args = append(args, "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC",
			// Nobody makes service accounts or taints nodes here: there is no controller manager.
			"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition")
	}
	c.api, err = StartDaemon(c.o.Dir, filepath.Join(c.o.Bin, "kube-apiserver"), args...)
	return err
}

func (c *ControlPlane) waitReady(ctx context.Context) error {
	err := retry.Until(ctx, time.Minute, func() error {
		if why := c.api.Exited(); why != nil {
			return permanentError{why}
		}
		if why := c.etcd.Exited(); why != nil {
			return permanentError{why}
		}
		made, err := client.NewWithWatch(c.Config, client.Options{Scheme: scheme()})
		if err != nil {
			return err
		}
		c.Client = made
		return readyz(ctx, c.Config)
	})
	if err != nil {
		return fmt.Errorf("wait for kube-apiserver, whose log is %s: %w", filepath.Join(c.o.Dir, "kube-apiserver.log"), err)
	}
	return nil
}

// permanentError is an error that waiting won't cure.
type permanentError struct{ error }

// As returns a client that asks in the name of a user, with no more rights than that user has.
func (c *ControlPlane) As(user string) (client.WithWatch, error) {
	config := rest.CopyConfig(c.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	out, err := client.NewWithWatch(config, client.Options{Scheme: c.Client.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("make a client that asks as %s: %w", user, err)
	}
	return out, nil
}
