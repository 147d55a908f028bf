package cniserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/internal/failpoint"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/wish"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

func (s *Server) add(ctx context.Context, c *call) (json.RawMessage, *protocol.Error) {
	if bad := s.available(ctx); bad != nil {
		return nil, bad
	}
	if c.NetworkNamespace == "" {
		return nil, cniError(protocol.CodeInvalidEnvironment, "CNI_NETNS is empty; ADD needs the pod's network namespace.")
	}
	release, bad := s.hold(ctx, c)
	if bad != nil {
		return nil, bad
	}
	defer release()
	e, known := s.book.Get(c.key)
	if known && e.State == addressbook.Ready {
		return s.repeat(c, e)
	}
	failpoint.At("add: begin")
	var err error
	if known {
		if e, known, err = s.revive(ctx, c, e); err != nil {
			return nil, cniError(protocol.CodeTryAgainLater, "The interface's last DEL is still under way; try again later.")
		}
	}
	if !known {
		if e, err = s.reserve(ctx, c); err != nil {
			return nil, s.asError(c, err)
		}
	}
	failpoint.At("add: reserved")
	if err := s.establish(ctx, e); err != nil {
		s.discard(e)
		return nil, s.asError(c, err)
	}
	failpoint.At("add: established")
	return s.result(c, e)
}

// revive takes back an endpoint whose last DEL is under way: it keeps its addresses, so that the ADD need not wait until
// the old record is gone. Where the addresses would not do it waits for the end of the DEL, and reports false.
func (s *Server) revive(ctx context.Context, c *call, e addressbook.Endpoint) (addressbook.Endpoint, bool, error) {
	if s.serves(c, e) {
		s.reaper.cancel(e.Interface)
		if again, ok := s.book.Revive(c.endpoint()); ok {
			return again, true, nil
		}
	}
	return addressbook.Endpoint{}, false, s.book.WaitGone(ctx, e.Interface)
}

// serves reports whether a new ADD could have been given the addresses of an endpoint, its hardware address too.
func (s *Server) serves(c *call, e addressbook.Endpoint) bool {
	wishes, exact, err := s.asked(c)
	if err != nil || e.MAC != c.mac {
		return false
	}
	candidates, err := s.pools.Candidates(c.namespace, wishes)
	if err != nil || len(candidates) != len(e.Pools) {
		return false
	}
	exact = s.remembered(c, candidates, exact)
	for i, list := range candidates {
		if !slices.Contains(list, e.Pools[i]) {
			return false
		}
	}
	return !slices.ContainsFunc(exact, func(a netip.Addr) bool { return !slices.Contains(e.Addresses, a) })
}

// available is nil when the agent can serve pods, perhaps after a wait for its start.
func (s *Server) available(ctx context.Context) *protocol.Error {
	if bad := s.awaitSync(ctx); bad != nil {
		return bad
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	err := s.health.Unavailable()
	for errors.Is(err, ErrStarting) {
		select {
		case <-ctx.Done():
			return cniError(protocol.CodeTryAgainLater, "%s; try again later.", sentence(err))
		case <-time.After(startRetry):
		}
		err = s.health.Unavailable()
	}
	if err != nil {
		return cniError(protocol.CodeTryAgainLater, "%s; try again later.", sentence(err))
	}
	return nil
}

// hold keeps other calls for the same interface out until release.
func (s *Server) hold(ctx context.Context, c *call) (release func(), bad *protocol.Error) {
	release, err := s.locks.acquire(ctx, c.key)
	if err != nil {
		return nil, cniError(protocol.CodeTryAgainLater, "Another call for this pod interface is under way; try again later.")
	}
	return release, nil
}

// repeat answers an ADD for an interface that is there: with the same addresses, and what is missing mended.
func (s *Server) repeat(c *call, e addressbook.Endpoint) (json.RawMessage, *protocol.Error) {
	e.NetworkNamespace = c.NetworkNamespace
	spec, err := Spec(e, s.pools.MTU(e.Pools))
	if err != nil {
		return nil, s.asError(c, err)
	}
	if err := s.wiring.Wire(spec); err != nil {
		return nil, s.asError(c, err)
	}
	return s.result(c, e)
}

func (s *Server) reserve(ctx context.Context, c *call) (addressbook.Endpoint, error) {
	wishes, exact, err := s.asked(c)
	if err != nil {
		return addressbook.Endpoint{}, err
	}
	candidates, err := s.candidates(ctx, c.namespace, wishes)
	if err != nil {
		return addressbook.Endpoint{}, err
	}
	return s.book.Reserve(ctx, addressbook.Request{Endpoint: c.endpoint(), Candidates: candidates, Exact: s.remembered(c, candidates, exact)})
}

// candidates returns the pools that may serve a pod. The pod of a new namespace may come before the agent has seen it.
func (s *Server) candidates(ctx context.Context, namespace string, wishes []wish.Wish) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, namespacePatience)
	defer cancel()
	for {
		out, err := s.pools.Candidates(namespace, wishes)
		if !errors.Is(err, addressbook.ErrUnknownNamespace) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(namespaceRetry):
		}
	}
}

// establish makes the link, and has the record written. The link carries all that the record says, but for a pod whose name
// is too long for that: such an ADD waits until its record is there.
func (s *Server) establish(ctx context.Context, e addressbook.Endpoint) error {
	spec, err := Spec(e, s.pools.MTU(e.Pools))
	if err != nil {
		return err
	}
	if err := s.wiring.Wire(spec); err != nil {
		return fmt.Errorf("wire pod %s/%s: %w", e.Namespace, e.Pod, err)
	}
	failpoint.At("add: wired")
	s.book.SetState(e.Interface, addressbook.Ready)
	s.records.Write(e)
	if spec.Alias.Fits() {
		return nil
	}
	if err := s.records.Await(ctx, e.Interface); err != nil {
		return fmt.Errorf("%w: %w", errNotRecorded, err)
	}
	return nil
}

// errNotRecorded says that a pod's name is too long for its link, and its record could not be written in time.
var errNotRecorded = errors.New("the names of pod and namespace are too long to be kept on the node, and the WorkloadEndpoint could not be written")

// discard undoes an ADD that has failed.
func (s *Server) discard(e addressbook.Endpoint) {
	s.book.SetState(e.Interface, addressbook.Releasing)
	if _, err := s.wiring.MarkDeleted(e.Interface); err != nil {
		s.log.Error(err, "Can't mark the link of a failed ADD; it is deleted all the same", "link", e.Interface)
	}
	s.reaper.add(e.Interface, false)
	s.records.Remove(e)
}

func (s *Server) del(ctx context.Context, c *call) *protocol.Error {
	if bad := s.awaitSync(ctx); bad != nil {
		return bad
	}
	release, bad := s.hold(ctx, c)
	if bad != nil {
		return bad
	}
	defer release()
	e, known := s.book.Get(c.key)
	if !known {
		e = addressbook.Endpoint{Interface: c.key}
	}
	return s.remove(e, known)
}

// remove takes an endpoint away: its link is marked, and the mark outlives the agent; the record goes in the background.
// The address is free when both are gone.
func (s *Server) remove(e addressbook.Endpoint, known bool) *protocol.Error {
	if known && e.State == addressbook.Releasing {
		return nil // it is on its way
	}
	failpoint.At("del: begin")
	// The state comes first: a record that vanishes while its endpoint is Ready is written again.
	s.book.SetState(e.Interface, addressbook.Releasing)
	marked, err := s.wiring.MarkDeleted(e.Interface)
	if err != nil {
		s.book.SetState(e.Interface, addressbook.Ready)
		return cniError(protocol.CodeInternal, "%s.", sentence(err))
	}
	failpoint.At("del: marked")
	if known || marked {
		s.reaper.add(e.Interface, !known)
	}
	if known {
		s.records.Remove(e)
	}
	failpoint.At("del: end")
	return nil
}

func (s *Server) check(ctx context.Context, c *call) *protocol.Error {
	if bad := s.awaitSync(ctx); bad != nil {
		return bad
	}
	release, bad := s.hold(ctx, c)
	if bad != nil {
		return bad
	}
	defer release()
	e, known := s.book.Get(c.key)
	if !known || e.State != addressbook.Ready {
		return cniError(protocol.CodeNotAsExpected, "The agent knows no interface %s of container %s; run ADD first.", c.Interface, c.ContainerID)
	}
	if bad := comparePrevious(c, e); bad != nil {
		return bad
	}
	if c.NetworkNamespace != "" {
		e.NetworkNamespace = c.NetworkNamespace
	}
	spec, err := Spec(e, 0)
	if err == nil {
		err = s.wiring.Check(spec)
	}
	if err != nil {
		return cniError(protocol.CodeNotAsExpected, "%s.", sentence(err))
	}
	return nil
}

// comparePrevious checks that the runtime's last result names this endpoint's addresses.
func comparePrevious(c *call, e addressbook.Endpoint) *protocol.Error {
	if c.config.RawPrevResult == nil {
		return cniError(protocol.CodeInvalidConfig, "CHECK needs prevResult in the network configuration.")
	}
	raw, err := json.Marshal(c.config.RawPrevResult)
	if err != nil {
		return cniError(protocol.CodeDecodingFailure, "prevResult can't be read: %v.", err)
	}
	version := c.config.CNIVersion
	previous, err := types100.NewResult(raw)
	if version != "" && version[0] == '0' {
		var old types.Result
		if old, err = create.Create(version, raw); err == nil {
			previous, err = types100.GetResult(old)
		}
	}
	if err != nil {
		return cniError(protocol.CodeDecodingFailure, "prevResult can't be read as version %s: %v.", version, err)
	}
	result, err := types100.GetResult(previous)
	if err != nil {
		return cniError(protocol.CodeDecodingFailure, "prevResult can't be read as version %s: %v.", version, err)
	}
	for _, a := range e.Addresses {
		found := false
		for _, ip := range result.IPs {
			got, ok := netip.AddrFromSlice(ip.Address.IP)
			found = found || ok && got.Unmap() == a
		}
		if !found {
			return cniError(protocol.CodeNotAsExpected, "prevResult lacks the pod's address %s.", a)
		}
	}
	return nil
}

// gc removes every endpoint of the network that the runtime does not list.
func (s *Server) gc(ctx context.Context, c *call) *protocol.Error {
	if bad := s.awaitSync(ctx); bad != nil {
		return bad
	}
	valid := map[string]bool{}
	for _, a := range c.config.ValidAttachments {
		valid[names.HostInterface(a.ContainerID, a.IfName)] = true
	}
	var failed []string
	code := protocol.CodeInternal
	for _, e := range s.book.Endpoints() {
		if valid[e.Interface] || e.State != addressbook.Ready || e.Network != c.config.Name {
			continue
		}
		now, release, err := s.holdReady(ctx, e.Interface)
		if err != nil {
			return cniError(protocol.CodeTryAgainLater, "The time for GC has run out; try again later.")
		}
		if release == nil {
			continue // its own DEL has come
		}
		if bad := s.remove(now, true); bad != nil {
			failed, code = append(failed, bad.Message), bad.Code
		}
		release()
	}
	if len(failed) > 0 {
		return cniError(code, "%d endpoints could not be removed; the first: %s", len(failed), failed[0])
	}
	return nil
}

// status says whether the node has its network. Once it has, it stays, though the agent may have to be waited for.
func (s *Server) status() *protocol.Error {
	if _, err := os.Stat(s.served); err == nil {
		return nil
	}
	if err := s.health.Unavailable(); err != nil {
		return cniError(protocol.CodeNotAvailable, "%s.", sentence(err))
	}
	if s.served == "" {
		return nil
	}
	if err := os.WriteFile(s.served, nil, 0o600); err != nil {
		s.log.Info("Can't note that pods are served; the node loses its pods from Services whenever the agent is away", "reason", err.Error())
	}
	return nil
}

// result is the CNI result of an ADD in the version that the configuration asks for.
func (s *Server) result(c *call, e addressbook.Endpoint) (json.RawMessage, *protocol.Error) {
	podEnd := 1
	full := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{
			{Name: e.Interface, Mac: names.HostMAC.String()},
			{Name: e.ContainerInterface, Mac: e.MAC, Mtu: s.pools.MTU(e.Pools), Sandbox: e.NetworkNamespace},
		},
		DNS: c.config.DNS,
	}
	for _, a := range e.Addresses {
		gateway, any := names.GatewayV4, net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
		if a.Is6() {
			gateway, any = names.GatewayV6, net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
		}
		full.IPs = append(full.IPs, &types100.IPConfig{
			Interface: &podEnd, Gateway: gateway.AsSlice(),
			Address: net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())},
		})
		full.Routes = append(full.Routes, &types.Route{Dst: any, GW: gateway.AsSlice()})
	}
	version := c.config.CNIVersion
	if version == "" {
		version = "0.1.0" // CNI spec: a configuration without a version has the first
	}
	converted, err := full.GetAsVersion(version)
	if err != nil {
		return nil, cniError(protocol.CodeInvalidConfig, "The result can't be given in cniVersion %s: %v.", version, err)
	}
	raw, err := json.Marshal(converted)
	if err != nil {
		return nil, cniError(protocol.CodeInternal, "The result can't be written: %v.", err)
	}
	return raw, nil
}
