package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/scrape"
	"github.com/causeway-net/causeway/node-agent/install"
)

// daemonSet is the name of the DaemonSet that starts agents.
const daemonSet = "causeway-agent"

// serveOutside starts what people and the container runtime see of the agent: metrics, health, the CNI configuration.
func (a *Agent) serveOutside(work starter) error {
	metrics, err := scrape.New(scrape.Options{Address: a.options.MetricsAddress, Secure: a.options.MetricsSecure,
		CertFolder: a.options.MetricsCertFolder, Config: a.options.Config, Handler: a.metrics.handler(), Log: a.log})
	if err != nil {
		return err
	}
	work("serve metrics", metrics.Start)
	if a.options.HealthAddress != "" {
		work("serve health", a.serveHealth)
	}
	if a.options.CNIConfFolder != "" {
		keeper := install.Keeper{ConfFolder: a.options.CNIConfFolder, PluginFolder: a.options.CNIPluginFolder,
			Unavailable: a.Unavailable, RemovedForGood: a.removedForGood, Log: a.log}
		work("keep the CNI configuration", func(ctx context.Context) error { keeper.Run(ctx); return nil })
	}
	return nil
}

// removedForGood says whether the DaemonSet that starts agents is gone or going.
func (a *Agent) removedForGood(ctx context.Context) bool {
	var ds metav1.PartialObjectMetadata
	ds.SetGroupVersionKind(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "DaemonSet"})
	err := a.api.Client.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: daemonSet}, &ds)
	return apierrors.IsNotFound(err) || err == nil && ds.DeletionTimestamp != nil
}

// serveHealth answers the kubelet's probes: /livez fails if a loop hangs, /readyz as long as pods can't be served. A port
// that is taken is tried again: the kubelet decides what to do with an agent that it can't ask.
func (a *Agent) serveHealth(ctx context.Context) error {
	a.health.Probe("the address book", func() { a.book.Endpoints() })
	a.health.Probe("the view of the cluster", func() { a.view.Pools() })
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", answerer(func(ctx context.Context) error {
		err := a.health.Hanging(ctx)
		if err != nil {
			a.log.Error(err, "The agent hangs; the kubelet will start it again")
		}
		return err
	}))
	mux.HandleFunc("/readyz", answerer(func(context.Context) error { return a.Unavailable() }))
	const pause = 2 * time.Second
	for {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.options.HealthAddress)
		if err == nil {
			server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
			stop := context.AfterFunc(ctx, func() { _ = server.Close() })
			err = server.Serve(listener)
			stop()
		}
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, http.ErrServerClosed) {
			a.log.Error(err, "Health is not served, so the kubelet will start the agent again; if another program has the port, choose another one with --health-probe-bind-address",
				"address", a.options.HealthAddress)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func answerer(ask func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := ask(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	}
}
