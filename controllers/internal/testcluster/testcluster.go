// Package testcluster starts the real etcd and kube-apiserver for the tests of the controllers, on free ports of the
// loopback address, in a temporary folder. They end with the test process, however that ends.
package testcluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/retry"
)

// Cluster is a running control plane.
type Cluster struct {
	Config *rest.Config
	Client client.WithWatch
	Scheme *apiruntime.Scheme
	stops  []func()
}

const token = "test-token"

// Start starts a control plane with our CRDs and the namespaces causeway-system and causeway-bgp. bin holds etcd and kube-apiserver.
func Start(ctx context.Context, dir, bin, crds string) (*Cluster, error) {
	c := &Cluster{}
	if err := c.start(ctx, dir, bin, crds); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// Stop ends all processes.
func (c *Cluster) Stop() {
	for i := len(c.stops) - 1; i >= 0; i-- {
		c.stops[i]()
	}
	c.stops = nil
}

func (c *Cluster) start(ctx context.Context, dir, bin, crds string) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	key := filepath.Join(dir, "sa.key")
	if err := writeKey(key); err != nil {
		return err
	}
	tokens := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(token+",tester,1,system:masters\n"), 0o600); err != nil {
		return fmt.Errorf("write the token file: %w", err)
	}
	etcd, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	if err := c.run(dir, filepath.Join(bin, "etcd"), "--data-dir="+filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd, "--listen-peer-urls="+peer,
		"--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer); err != nil {
		return err
	}
	if err := c.run(dir, filepath.Join(bin, "kube-apiserver"), "--etcd-servers="+etcd, "--cert-dir="+filepath.Join(dir, "certs"),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[2]), "--token-auth-file="+tokens,
		"--authorization-mode=RBAC", "--service-account-issuer=https://test", "--service-account-key-file="+key,
		"--service-account-signing-key-file="+key, "--service-cluster-ip-range=10.96.0.0/16",
		"--disable-admission-plugins=ServiceAccount", "--allow-privileged"); err != nil {
		return err
	}
	c.Config = &rest.Config{Host: fmt.Sprintf("https://127.0.0.1:%d", ports[2]), BearerToken: token,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}
	c.Scheme = apiruntime.NewScheme()
	for _, add := range []func(*apiruntime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(c.Scheme); err != nil {
			return fmt.Errorf("build the scheme: %w", err)
		}
	}
	return c.prepare(ctx, crds)
}

func (c *Cluster) prepare(ctx context.Context, crds string) error {
	err := retry.Until(ctx, 60*time.Second, func() error {
		var err error
		if c.Client, err = client.NewWithWatch(c.Config, client.Options{Scheme: c.Scheme}); err != nil {
			return err
		}
		for _, name := range []string{v1alpha1.SystemNamespace, v1alpha1.BGPNamespace} {
			namespace := &corev1.Namespace{}
			namespace.Name = name
			if err := client.IgnoreAlreadyExists(c.Client.Create(ctx, namespace)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("wait for kube-apiserver: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(crds, "causeway.dev_*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no CRDs in %s (%w)", crds, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read a CRD: %w", err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if err := c.Client.Create(ctx, crd); err != nil {
			return fmt.Errorf("create the CRD of %s: %w", file, err)
		}
	}
	return retry.Until(ctx, 30*time.Second, func() error {
		for _, l := range []client.ObjectList{&v1alpha1.IPPoolList{}, &v1alpha1.IPBlockList{}, &v1alpha1.NodeNetworkList{},
			&v1alpha1.WorkloadEndpointList{}, &v1alpha1.BGPPeerList{}, &v1alpha1.BGPConfigurationList{}, &v1alpha1.BGPFilterList{}} {
			if err := c.Client.List(ctx, l); err != nil {
				return err
			}
		}
		return nil
	})
}

// Apply creates all objects of a YAML file.
func (c *Cluster) Apply(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read a manifest: %w", err)
	}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(bytes.TrimPrefix(document, []byte("---\n")), &o.Object); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if err := c.Client.Create(ctx, o); err != nil {
			return fmt.Errorf("create what %s describes: %w", path, err)
		}
	}
	return nil
}

// As returns a configuration that acts as a service account of causeway-system.
func (c *Cluster) As(account string) *rest.Config {
	cfg := rest.CopyConfig(c.Config)
	cfg.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + v1alpha1.SystemNamespace + ":" + account,
		Groups:   []string{"system:serviceaccounts", "system:authenticated"},
	}
	return cfg
}

// run starts a process that dies with this one. The starting thread is kept: the kernel ties the signal to it (prctl(2)).
func (c *Cluster) run(dir, path string, args ...string) error {
	log, err := os.Create(filepath.Join(dir, filepath.Base(path)+".log"))
	if err != nil {
		return fmt.Errorf("make a log file: %w", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Killed by us, or its absence is what the test runs into.
		}
		_ = log.Close()
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	c.stops = append(c.stops, func() {
		_ = cmd.Process.Kill() // It may be gone already.
		<-done
	})
	return nil
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func writeKey(path string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	var text bytes.Buffer
	if err := pem.Encode(&text, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}); err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	return os.WriteFile(path, text.Bytes(), 0o600)
}
