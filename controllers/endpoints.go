package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// endpointSource reads WorkloadEndpoints from the API server. Of a list it decodes only the words that are used, while they come in: with
// 150,000 endpoints, to decode whole objects took most of the time from the controller's start to its first block.
type endpointSource struct {
	rest   rest.Interface
	client client.WithWatch
}

func newEndpointSource(mgr manager.Manager) (*endpointSource, error) {
	all, err := client.NewWithWatch(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return nil, err
	}
	raw, err := apiutil.RESTClientForGVK(v1alpha1.GroupVersion.WithKind("WorkloadEndpoint"), true, false, mgr.GetConfig(), serializer.NewCodecFactory(mgr.GetScheme()), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	return &endpointSource{rest: raw, client: all}, nil
}

// WatchEndpoints implements blocks.EndpointSource.
func (s *endpointSource) WatchEndpoints(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return s.client.Watch(ctx, &v1alpha1.WorkloadEndpointList{}, &client.ListOptions{Raw: &o})
}

// ListEndpoints implements blocks.EndpointSource. Without a version and a limit in the question, the API server answers from its memory,
// once that is as new as etcd.
func (s *endpointSource) ListEndpoints(ctx context.Context, each func(*v1alpha1.WorkloadEndpoint)) (version string, err error) {
	stream, err := s.rest.Get().Resource("workloadendpoints").Stream(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	return readEndpoints(stream, each)
}

// readEndpoints reads a list as the API server writes it: an object whose field items is long. A list that breaks off is an error, and so
// is one that is not all, and one without a version.
func readEndpoints(stream io.Reader, each func(*v1alpha1.WorkloadEndpoint)) (string, error) {
	in := json.NewDecoder(stream)
	if err := expect(in, json.Delim('{')); err != nil {
		return "", err
	}
	var meta metav1.ListMeta
	for in.More() {
		field, err := in.Token()
		if err != nil {
			return "", err
		}
		switch field {
		case "metadata":
			err = in.Decode(&meta)
		case "items":
			err = readItems(in, each)
		default:
			err = in.Decode(&json.RawMessage{})
		}
		if err != nil {
			return "", fmt.Errorf("read the list's field %s: %w", field, err)
		}
	}
	if err := expect(in, json.Delim('}')); err != nil {
		return "", err
	}
	if meta.ResourceVersion == "" || meta.Continue != "" {
		return "", fmt.Errorf("the API server sent a list that is not whole: %+v", meta)
	}
	return meta.ResourceVersion, nil
}

func expect(in *json.Decoder, want json.Delim) error {
	switch got, err := in.Token(); {
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("want %s in the list, not %v", want, got)
	}
	return nil
}

// endpointWords are the words of a WorkloadEndpoint that the controller uses.
type endpointWords struct {
	Metadata struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Pod       string   `json:"pod"`
		Interface string   `json:"containerInterface"`
		Node      string   `json:"node"`
		Addresses []string `json:"addresses"`
		Pools     []string `json:"pools"`
	} `json:"spec"`
}

func readItems(in *json.Decoder, each func(*v1alpha1.WorkloadEndpoint)) error {
	if err := expect(in, json.Delim('[')); err != nil {
		return err
	}
	var one v1alpha1.WorkloadEndpoint // the same for each, since its size is some times that of the words
	for in.More() {
		var words endpointWords
		if err := in.Decode(&words); err != nil {
			return err
		}
		one.Namespace, one.Name = words.Metadata.Namespace, words.Metadata.Name
		one.Spec.Node, one.Spec.Addresses, one.Spec.Pools = words.Spec.Node, words.Spec.Addresses, words.Spec.Pools
		one.Spec.Pod, one.Spec.ContainerInterface = words.Spec.Pod, words.Spec.Interface
		each(&one)
	}
	return expect(in, json.Delim(']'))
}
