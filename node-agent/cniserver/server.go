package cniserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

const (
	maxRequest      = 4 << 20
	defaultPatience = 30 * time.Second
	maxPatience     = 2 * time.Minute
	// startPatience is how long a call waits for an agent that starts.
	startPatience = 10 * time.Second
	startRetry    = 50 * time.Millisecond
	// namespacePatience is how long an ADD waits for its pod's namespace to be seen, looking every namespaceRetry.
	namespacePatience = 2 * time.Second
	namespaceRetry    = 10 * time.Millisecond
)

// Options are what a Server is made of.
type Options struct {
	Node    string
	Book    *addressbook.Book
	Records Records
	Wiring  Wiring
	Pools   Pools
	Health  Health
	Log     logr.Logger
	// Observe is called once for each call: the verb, the CNI error code (0 for none) and how long it took.
	Observe func(verb string, code uint, took time.Duration)
	// NodeWith returns the node that may give an address to a pod; "" for none. Nil where nobody knows.
	NodeWith func(netip.Addr) string
	// Served is the file that says that pods could be served since the node's start (protocol.ServedSuffix); "" for none.
	Served string
}

// Server serves the plugin's calls.
type Server struct {
	node    string
	book    *addressbook.Book
	records Records
	wiring  Wiring
	pools   Pools
	health  Health
	log     logr.Logger
	observe func(string, uint, time.Duration)
	// nodeWith is nil where nobody knows who has an address.
	nodeWith func(netip.Addr) string
	locks    locks
	reaper   *reaper
	served   string
	synced   chan struct{} // closed when the book holds every endpoint of the node
}

// New returns a server.
func New(o Options) *Server {
	return &Server{
		node: o.Node, book: o.Book, records: o.Records, wiring: o.Wiring, pools: o.Pools, health: o.Health, log: o.Log,
		observe: o.Observe, nodeWith: o.NodeWith, served: o.Served, reaper: newReaper(o.Book, o.Wiring, o.Log), synced: make(chan struct{}),
	}
}

// SetSynced tells the server, once, that the book holds every endpoint of the node. Calls wait for it.
func (s *Server) SetSynced() { close(s.synced) }

// awaitSync waits until the book holds every endpoint of the node, so that a restart of the agent fails no pod.
func (s *Server) awaitSync(ctx context.Context) *protocol.Error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	select {
	case <-s.synced:
		return nil
	case <-ctx.Done():
		err := s.health.Unavailable()
		if err == nil {
			err = errors.New("the agent has only just started")
		}
		return cniError(protocol.CodeTryAgainLater, "%s; try again later.", sentence(err))
	}
}

// holdReady locks an endpoint that is Ready. There is no release where it is not, or where the time has run out.
func (s *Server) holdReady(ctx context.Context, hostInterface string) (addressbook.Endpoint, func(), error) {
	release, err := s.locks.acquire(ctx, hostInterface)
	if err != nil {
		return addressbook.Endpoint{}, nil, err
	}
	e, known := s.book.Get(hostInterface)
	if !known || e.State != addressbook.Ready {
		release()
		return addressbook.Endpoint{}, nil, nil
	}
	return e, release, nil
}

// Release removes an endpoint whose pod is gone, as a DEL would.
func (s *Server) Release(ctx context.Context, e addressbook.Endpoint) error {
	now, release, err := s.holdReady(ctx, e.Interface)
	if release == nil {
		return err
	}
	defer release()
	if bad := s.remove(now, true); bad != nil {
		return errors.New(bad.Message)
	}
	return nil
}

// Rewrite has the record of an endpoint written again, unless its pod is going.
func (s *Server) Rewrite(ctx context.Context, hostInterface string) error {
	e, release, err := s.holdReady(ctx, hostInterface)
	if release == nil {
		return err
	}
	defer release()
	s.records.Rewrite(e)
	return nil
}

// Mend makes the link of an endpoint again where it is missing or incomplete, unless its pod is going.
func (s *Server) Mend(ctx context.Context, hostInterface string) error {
	e, release, err := s.holdReady(ctx, hostInterface)
	if release == nil {
		return err
	}
	defer release()
	spec, err := Spec(e, s.pools.MTU(e.Pools))
	if err != nil {
		return err
	}
	return s.wiring.Wire(spec)
}

// Reap removes what is left of an endpoint whose state is Releasing. recorded says that it may have a record.
func (s *Server) Reap(e addressbook.Endpoint, recorded bool) {
	s.reaper.add(e.Interface, !recorded)
	if recorded {
		s.records.Remove(e)
	}
}

// RecordGone tells that the API has no record of an endpoint that is being removed.
func (s *Server) RecordGone(hostInterface string) {
	if !s.records.Pending(hostInterface) { // a newer request has taken the place of the one that has ended
		s.reaper.recordGone(hostInterface)
	}
}

// Listen opens the socket for root only, replacing a dead agent's.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the socket's folder: %w", err)
	}
	// Bound under another name and renamed: a plugin never meets a socket that nobody listens on for long.
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove a leftover socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temporary, 0o600), os.Rename(temporary, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("put the socket at %s: %w", path, err), l.Close())
	}
	return l, nil
}

// Run deletes the links of pods that are gone, until the context ends.
func (s *Server) Run(ctx context.Context) { s.reaper.run(ctx) }

// Serve answers calls until the context ends, and waits for those under way.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var calls sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			calls.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept a call: %w", err)
		}
		calls.Go(func() { s.answer(ctx, conn.(*net.UnixConn)) })
	}
}

func (s *Server) answer(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close() //nolint:errcheck // the answer is written or the caller is gone
	if err := checkPeer(conn); err != nil {
		s.log.Error(err, "Refused a call on the CNI socket")
		return
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return
	}
	request, err := readRequest(conn)
	if err != nil {
		s.respond(conn, request, protocol.Response{Error: cniError(protocol.CodeDecodingFailure, "The agent can't read the plugin's request: %v.", err)})
		return
	}
	patience := defaultPatience
	if request.PatienceMilliseconds > 0 {
		patience = min(time.Duration(request.PatienceMilliseconds)*time.Millisecond, maxPatience)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	started := time.Now()
	response := s.Handle(ctx, request)
	code := uint(0)
	if response.Error != nil {
		code = response.Error.Code
		s.log.Info("A CNI call failed", "verb", request.Command, "container", request.ContainerID, "args", request.Args, "code", code, "reason", response.Error.Message)
	}
	s.observe(request.Command, code, time.Since(started))
	s.respond(conn, request, response)
}

func (s *Server) respond(conn *net.UnixConn, request protocol.Request, r protocol.Response) {
	if err := conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return
	}
	text, err := answerText(request.Config, r)
	if err != nil {
		s.log.Error(err, "Can't answer a CNI call")
		return
	}
	if _, err := conn.Write(text); err != nil {
		s.log.V(1).Info("The plugin did not wait for its answer", "reason", err.Error())
	}
}

// Handle runs one call.
func (s *Server) Handle(ctx context.Context, request protocol.Request) (response protocol.Response) {
	c, bad := parse(request)
	if bad != nil {
		return protocol.Response{Error: bad}
	}
	switch request.Command {
	case "ADD":
		response.Result, response.Error = s.add(ctx, c)
	case "DEL":
		response.Error = s.del(ctx, c)
	case "CHECK":
		response.Error = s.check(ctx, c)
	case "GC":
		response.Error = s.gc(ctx, c)
	case "STATUS":
		response.Error = s.status()
	default:
		response.Error = cniError(protocol.CodeInvalidEnvironment, "CNI_COMMAND %q is unknown.", request.Command)
	}
	return response
}

// checkPeer lets only the agent's own user (root) in, whatever the file's mode has become.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("look at the caller: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return fmt.Errorf("look at the caller: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("look at the caller: %w", credErr)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d may not call the agent", cred.Uid)
	}
	return nil
}
