package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/records"
)

const (
	etcdAddress  = "http://127.0.0.1:2379"
	endpointsKey = "/registry/causeway.dev/workloadendpoints/"
)

var etcdClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}

// podOf returns a pod's endpoint, without an address.
func podOf(index, number int) addressbook.Endpoint {
	container := fmt.Sprintf("%032x%032x", index+1, number)
	return addressbook.Endpoint{
		Interface: names.HostInterface(container, "eth0"), Namespace: podsSpace, Pod: fmt.Sprintf("%s-pod-%d", nodeName(index), number),
		PodUID: container[:32], ContainerID: container, ContainerInterface: "eth0", Network: "causeway", NetworkNamespace: "/proc/self/ns/net",
		MAC: names.PodMAC(container, "eth0").String(),
	}
}

// recordOf returns the record of a pod that has an address of a block. The block's first address is the node's own.
func recordOf(index, number int, block netip.Prefix) *v1alpha1.WorkloadEndpoint {
	e := podOf(index, number)
	address := block.Addr().Next()
	for range number {
		address = address.Next()
	}
	e.Addresses, e.Pools = []netip.Addr{address}, []string{poolName}
	record := records.Record(e, nodeName(index))
	record.APIVersion, record.Kind = v1alpha1.GroupVersion.String(), "WorkloadEndpoint"
	return record
}

// startPod has a light node write a pod's record.
func (n *light) startPod(ctx context.Context, number int) error {
	record, err := n.record(number)
	if err != nil {
		return err
	}
	_, err = n.send(ctx, http.MethodPost, groupPath+"namespaces/"+podsSpace+"/workloadendpoints", plainJSON, record)
	return err
}

func (n *light) record(number int) (*v1alpha1.WorkloadEndpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.held) == 0 {
		return nil, fmt.Errorf("node %s has no block", n.name)
	}
	block, err := netip.ParsePrefix(n.held[0])
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.name, err)
	}
	return recordOf(n.index, number, block), nil
}

// loadEndpoints gives each of the nodes pods. The first pod of the first node goes through the API server; the others are
// written to etcd in the form that the API server stored that one in, which is several times faster.
func (b *bench) loadEndpoints(ctx context.Context, lights []*light, perNode int) error {
	if err := lights[0].startPod(ctx, 0); err != nil {
		return err
	}
	first, err := lights[0].record(0)
	if err != nil {
		return err
	}
	form, err := etcdGet(ctx, endpointsKey+podsSpace+"/"+first.Name)
	if err != nil {
		return err
	}
	var puts []put
	for i, n := range lights {
		for number := range perNode {
			if i == 0 && number == 0 {
				continue
			}
			record, err := n.record(number)
			if err != nil {
				return err
			}
			value, err := inForm(form, record)
			if err != nil {
				return err
			}
			puts = append(puts, put{Key: endpointsKey + podsSpace + "/" + record.Name, Value: value})
		}
	}
	began := time.Now()
	// One by one: a watch that breaks off in the middle of a transaction would go on after it.
	err = each(ctx, 0, len(puts), workers, func(ctx context.Context, i int) error { return etcdPut(ctx, puts[i]) })
	if err != nil {
		return err
	}
	b.logf("etcd has %d endpoints after %s", len(lights)*perNode, time.Since(began).Round(time.Millisecond))
	return nil
}

// inForm puts another record into a stored one.
func inForm(form []byte, record *v1alpha1.WorkloadEndpoint) ([]byte, error) {
	var stored map[string]any
	if err := json.Unmarshal(form, &stored); err != nil {
		return nil, fmt.Errorf("read a stored WorkloadEndpoint: %w", err)
	}
	meta, ok := stored["metadata"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a stored WorkloadEndpoint has no metadata: %s", form)
	}
	meta["name"], meta["uid"] = record.Name, string(uuid.NewUUID())
	stored["spec"] = record.Spec
	return json.Marshal(stored)
}

// put is one key of etcd.
type put struct {
	Key   string
	Value []byte
}

func etcdPut(ctx context.Context, p put) error {
	_, err := etcd(ctx, "/v3/kv/put", map[string]string{"key": base64.StdEncoding.EncodeToString([]byte(p.Key)),
		"value": base64.StdEncoding.EncodeToString(p.Value)})
	return err
}

func etcdGet(ctx context.Context, key string) ([]byte, error) {
	raw, err := etcd(ctx, "/v3/kv/range", map[string]string{"key": base64.StdEncoding.EncodeToString([]byte(key))})
	if err != nil {
		return nil, err
	}
	var answer struct {
		KVs []struct{ Value []byte }
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("read etcd's answer: %w", err)
	}
	if len(answer.KVs) != 1 {
		return nil, fmt.Errorf("etcd has %d values of %s, want one", len(answer.KVs), key)
	}
	return answer.KVs[0].Value, nil
}

// etcd asks etcd by its JSON gateway.
func etcd(ctx context.Context, path string, question any) ([]byte, error) {
	raw, err := json.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("write a question to etcd: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, etcdAddress+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	answer, err := etcdClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask etcd: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("ask etcd: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("etcd answers %s to %s: %s", answer.Status, path, text)
	}
	return text, nil
}
