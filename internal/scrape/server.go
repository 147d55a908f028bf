// Package scrape serves metrics of the controller and the agents: plainly, or by TLS to those whom Kubernetes lets. It takes a
// handler in, and never ends the program: where its port is taken, it tries again.
package scrape

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

const (
	// listenPause is the time between two attempts to get the port.
	listenPause = 10 * time.Second
	readTimeout = 5 * time.Second
)

// Options are what a Server is made of.
type Options struct {
	// Address is where metrics are served; "" or "0" for nowhere.
	Address string
	// Secure asks for TLS, and for a token whose owner may get the path /metrics by RBAC (nonResourceURLs).
	Secure bool
	// CertFolder holds tls.crt and tls.key. Without it the server makes a certificate of its own at each start.
	CertFolder string
	// Config leads to the API server, which is asked about tokens.
	Config  *rest.Config
	Handler http.Handler
	Log     logr.Logger
}

// Server serves metrics.
type Server struct {
	o       Options
	handler http.Handler
	tls     *tls.Config
	pause   time.Duration
}

// New prepares a server.
func New(o Options) (*Server, error) {
	s := &Server{o: o, handler: o.Handler, pause: listenPause}
	if !o.Secure {
		return s, nil
	}
	judge, err := newJudge(o.Config)
	if err != nil {
		return nil, err
	}
	s.handler = judge.filter(o.Handler)
	certificates := &certificates{folder: o.CertFolder, now: time.Now}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: certificates.get}
	return s, nil
}

// NeedLeaderElection makes controller-runtime run the server whether or not this process is the leader.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until the context ends.
func (s *Server) Start(ctx context.Context) error {
	if s.o.Address == "" || s.o.Address == "0" {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", s.handler)
	failing := false
	for {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.o.Address)
		if err == nil {
			if failing {
				s.o.Log.Info("Metrics are served now", "address", s.o.Address)
			}
			err = s.serve(ctx, mux, listener)
		}
		if ctx.Err() != nil {
			return nil
		}
		if !failing {
			failing = true
			s.o.Log.Error(err, "Metrics are not served; everything else works. Will try again. If another program has the port, choose another one with --metrics-bind-address",
				"address", s.o.Address)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.pause):
		}
	}
}

func (s *Server) serve(ctx context.Context, handler http.Handler, listener net.Listener) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: readTimeout, TLSConfig: s.tls}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	var err error
	if s.tls != nil {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve metrics: %w", err)
}
