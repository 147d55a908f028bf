package simulation

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/causeway-net/causeway/controllers"
)

// leader is one run of the controller that believes it leads.
type leader struct {
	*process
	cache *feeds
	parts []manager.Runnable
	ended atomic.Bool // a part has failed, which ends the program; somebody starts it again
}

// startLeader starts a controller's program. There is no election: all of them lead.
func (w *World) startLeader(name string) *leader {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{name: name, ctx: ctx, cancel: cancel}
	own := newFeeds(w, p, func(client.Object) bool { return true })
	w.feeds = append(w.feeds, own)
	l := &leader{process: p, cache: own}
	m := &programManager{leader: l, w: w, cache: own, client: &conn{w: w, p: p, cache: own}, live: w.bugs.live(&conn{w: w, p: p}, own)}
	if err := controllers.AddReconcilers(m, &conn{w: w, p: p, streams: own}, controllers.DefaultOptions()); err != nil {
		panic(fmt.Sprintf("set up a controller: %v", err))
	}
	for _, part := range l.parts {
		go func() {
			if err := part.Start(ctx); err != nil && ctx.Err() == nil {
				l.ended.Store(true)
			}
		}()
	}
	return l
}

// restart starts controllers again whose program has ended.
func (w *World) restart() {
	for i, l := range w.leaders {
		if l.ended.Load() {
			w.note("%s has ended, and starts again", l.name)
			w.gate.kill(l.process)
			w.settle()
			w.leaders[i] = w.startLeader(l.name)
		}
	}
}

// programManager is what the reconcilers need of controller-runtime's manager. Methods that they don't need panic.
type programManager struct {
	manager.Manager // nil
	leader          *leader
	w               *World
	cache           *feeds
	client          client.Client
	live            client.Reader
}

// Add implements manager.Manager.
func (m *programManager) Add(r manager.Runnable) error {
	m.leader.parts = append(m.leader.parts, r)
	return nil
}

// GetCache and the others implement cluster.Cluster.
func (m *programManager) GetCache() cache.Cache                { return m.cache }
func (m *programManager) GetClient() client.Client             { return m.client }
func (m *programManager) GetAPIReader() client.Reader          { return m.live }
func (m *programManager) GetScheme() *runtime.Scheme           { return m.w.scheme }
func (m *programManager) GetFieldIndexer() client.FieldIndexer { return m.cache }
func (m *programManager) GetLogger() logr.Logger               { return m.w.log }
func (m *programManager) GetConfig() *rest.Config              { return &rest.Config{} }
func (m *programManager) GetHTTPClient() *http.Client          { return http.DefaultClient }
func (m *programManager) GetRESTMapper() meta.RESTMapper       { return nil }

// GetControllerOptions implements manager.Manager. A panic ends the simulation.
func (m *programManager) GetControllerOptions() config.Controller {
	yes, no := true, false
	return config.Controller{SkipNameValidation: &yes, RecoverPanic: &no, UsePriorityQueue: &no, Logger: m.w.log}
}

// GetEventRecorder implements recorder.Provider.
func (m *programManager) GetEventRecorder(string) recorder.EventRecorder { return noEvents{} }

type noEvents struct{ events.AnnotatedEventRecorder }

// Eventf implements events.EventRecorder.
func (noEvents) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}
