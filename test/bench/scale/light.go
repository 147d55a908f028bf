package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	groupPath   = "/apis/causeway.dev/v1alpha1/"
	leasesPath  = "/apis/coordination.k8s.io/v1/namespaces/" + v1alpha1.SystemNamespace + "/leases"
	renewal     = 10 * time.Second // an agent's
	mergePatch  = "application/merge-patch+json"
	plainJSON   = "application/json"
	retryPause  = 200 * time.Millisecond
	claimWanted = reserve
)

// light is a node that only speaks an agent's protocol, on a connection of its own: it renews its lease, says its facts,
// claims blocks, and listens to what an agent listens to, without decoding it.
type light struct {
	name  string
	index int
	host  string
	token string
	http  *http.Client
	*tally

	version string // of the lease
	renewal time.Duration
	mu      sync.Mutex
	said    v1alpha1.PoolReport
	held    []string
	workers sync.WaitGroup
}

// transport makes a connection to the API server that nobody else uses.
func transport(config *rest.Config) (*http.Transport, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(config.CAData) {
		return nil, errors.New("the API server's certificate authority is no certificate")
	}
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1,
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
	}, nil
}

func newLight(index int, config *rest.Config, renewal time.Duration) (*light, error) {
	n := &light{name: nodeName(index), index: index, host: config.Host, token: config.BearerToken, tally: newTally(), renewal: renewal}
	t, err := transport(config)
	if err != nil {
		return nil, err
	}
	n.http = &http.Client{Transport: n.wrap(t)}
	return n, nil
}

// refusal is an answer of the API server that is no success.
type refusal struct {
	code int
	text string
}

// Error implements error.
func (r refusal) Error() string { return fmt.Sprintf("%d: %s", r.code, r.text) }

// send makes one request, and makes it again while the API server has too much to do.
func (n *light) send(ctx context.Context, method, path, kind string, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write a request: %w", err)
	}
	for {
		answer, err := n.once(ctx, method, path, kind, raw)
		var no refusal
		if errors.As(err, &no) && (no.code == http.StatusTooManyRequests || no.code >= http.StatusInternalServerError) {
			if err := pause(ctx, retryPause+rand.N(time.Second)); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("node %s: %s %s: %w", n.name, method, path, err)
		}
		return answer, nil
	}
}

func (n *light) once(ctx context.Context, method, path, kind string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, n.host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+n.token)
	request.Header.Set("Content-Type", kind)
	request.Header.Set("Accept", plainJSON)
	answer, err := n.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return nil, refusal{answer.StatusCode, string(text[:min(len(text), 300)])}
	}
	return text, nil
}

// join says that the node is there: its lease and its facts. The controller has made the NodeNetwork.
func (n *light) join(ctx context.Context) error {
	answer, err := n.send(ctx, http.MethodPost, leasesPath, plainJSON, n.leaseObject())
	if err != nil {
		return err
	}
	n.version = versionIn(answer)
	f := facts(n.index)
	status := map[string]any{"status": v1alpha1.NodeNetworkStatus{
		Addresses: f.Addresses, AddressList: f.Addresses[0].Address, MTU: f.MTU, VTEPMAC: f.VTEPMAC, Encapsulations: f.Encapsulations,
	}}
	for {
		_, err := n.send(ctx, http.MethodPatch, groupPath+"nodenetworks/"+n.name+"/status", mergePatch, status)
		var no refusal
		if !errors.As(err, &no) || no.code != http.StatusNotFound {
			return err
		}
		if err := pause(ctx, retryPause); err != nil {
			return err
		}
	}
}

func (n *light) leaseObject() map[string]any {
	meta := map[string]any{"name": v1alpha1.AgentLeasePrefix + n.name, "namespace": v1alpha1.SystemNamespace}
	if n.version != "" {
		meta["resourceVersion"] = n.version
	}
	return map[string]any{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta,
		"spec": map[string]any{"holderIdentity": n.name, "leaseDurationSeconds": 4 * int(n.renewal.Seconds()), "renewTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")},
	}
}

// keepLease renews the lease until the context ends.
func (n *light) keepLease(ctx context.Context) {
	_ = pause(ctx, rand.N(n.renewal)) // it ends with the context, as the loop does
	for ctx.Err() == nil {
		answer, err := n.send(ctx, http.MethodPut, leasesPath+"/"+v1alpha1.AgentLeasePrefix+n.name, plainJSON, n.leaseObject())
		if err == nil {
			n.version = versionIn(answer)
		}
		_ = pause(ctx, n.renewal+rand.N(n.renewal/20)) // see above
	}
}

// versionIn finds an object's version without decoding the object.
func versionIn(object []byte) string {
	_, rest, _ := bytes.Cut(object, []byte(`"resourceVersion":"`))
	version, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(version)
}

// claimBlocks creates the node's BlockClaim.
func (n *light) claimBlocks(ctx context.Context) error {
	claim := map[string]any{"apiVersion": "causeway.dev/v1alpha1", "kind": "BlockClaim", "metadata": map[string]any{"name": n.name},
		"spec": v1alpha1.BlockClaimSpec{Pools: []v1alpha1.PoolClaim{{Pool: poolName, Wanted: claimWanted}}}}
	_, err := n.send(ctx, http.MethodPost, groupPath+"blockclaims", plainJSON, claim)
	return err
}

// want changes how many addresses the node wants free.
func (n *light) want(ctx context.Context, wanted int) error {
	n.mu.Lock()
	spec := v1alpha1.BlockClaimSpec{Pools: []v1alpha1.PoolClaim{{Pool: poolName, Wanted: int32(wanted), Held: n.held}}}
	n.mu.Unlock()
	_, err := n.send(ctx, http.MethodPatch, groupPath+"blockclaims/"+n.name, mergePatch, map[string]any{"spec": spec})
	return err
}

// seeBlock notes a block of the node and lists it in the claim.
func (n *light) seeBlock(ctx context.Context, cidr string) error {
	n.mu.Lock()
	n.held = append(n.held, cidr)
	n.mu.Unlock()
	return n.want(ctx, claimWanted)
}

// seePool reports that the node can receive, or sends, as a pool now says. It does nothing where that is said already.
func (n *light) seePool(ctx context.Context, pool *v1alpha1.IPPool) error {
	sending := pool.Status.Encapsulation
	if sending == "" {
		sending = pool.Spec.Encapsulation
	}
	now := v1alpha1.PoolReport{Pool: pool.Name, PoolUID: string(pool.UID), ObservedGeneration: pool.Generation, Encapsulation: sending, Free: claimWanted}
	n.mu.Lock()
	same := n.said == now
	n.said = now
	n.mu.Unlock()
	if same {
		return nil
	}
	status := map[string]any{"status": v1alpha1.BlockClaimStatus{Pools: []v1alpha1.PoolReport{now}}}
	_, err := n.send(ctx, http.MethodPatch, groupPath+"blockclaims/"+n.name+"/status", mergePatch, status)
	return err
}

// listen opens the watches of an agent from a version on, without the lists that an agent begins with.
func (n *light) listen(ctx context.Context, version func() string) {
	for _, w := range []struct{ path, accept string }{
		{groupPath + "ippools", plainJSON},
		{groupPath + "ipblocks", plainJSON},
		{groupPath + "ipreservations", plainJSON},
		{groupPath + "stickyaddresses", plainJSON},
		{groupPath + "nodenetworks", plainJSON},
		{groupPath + "bgppeers", plainJSON},
		{groupPath + "bgpconfigurations", plainJSON},
		{groupPath + "bgpfilters", plainJSON},
		{groupPath + "workloadendpoints?fieldSelector=spec.node%3D" + n.name, plainJSON},
		{"/api/v1/nodes?fieldSelector=metadata.name%3D" + n.name, plainJSON},
		{"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes", plainJSON},
		{"/apis/networking.k8s.io/v1/servicecidrs", plainJSON},
		{"/api/v1/namespaces", plainJSON + ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"},
	} {
		n.workers.Go(func() { n.follow(ctx, w.path, w.accept, version) })
	}
}

// follow keeps one watch open until the context ends.
func (n *light) follow(ctx context.Context, path, accept string, version func() string) {
	joint := "?"
	if strings.Contains(path, "?") {
		joint = "&"
	}
	for ctx.Err() == nil {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.host+path+joint+"watch=1&allowWatchBookmarks=true&resourceVersion="+version(), nil)
		if err != nil {
			return // the paths are ours: this does not happen
		}
		request.Header.Set("Authorization", "Bearer "+n.token)
		request.Header.Set("Accept", accept)
		if answer, err := n.http.Do(request); err == nil {
			if answer.StatusCode == http.StatusOK {
				_, _ = io.CopyBuffer(io.Discard, onlyReader{answer.Body}, make([]byte, 2<<10)) // ends with the watch
			}
			_ = answer.Body.Close()
		}
		_ = pause(ctx, retryPause+rand.N(time.Second)) // the loop ends with the context too
	}
}

// onlyReader hides how else a body could be read.
type onlyReader struct{ io.Reader }

// close ends the node's connection.
func (n *light) close() {
	n.workers.Wait()
	n.http.CloseIdleConnections()
}
