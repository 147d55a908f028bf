package cniserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
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
	if known && e.State == addressbook.Releasing {
		if err := s.book.WaitGone(ctx, c.key); err != nil {
			return nil, cniError(protocol.CodeTryAgainLater, "The interface's last DEL is still under way; try again later.")
		}
		known = false
	}
	if known {
		return s.repeat(c, e)
	}
	e, err := s.reserve(ctx, c)
	if err != nil {
		return nil, s.asError(c, err)
	}
	if err := s.establish(ctx, e); err != nil {
		s.book.SetState(c.key, addressbook.Releasing)
		s.reaper.add(job{endpoint: e, record: true})
		return nil, s.asError(c, err)
	}
	s.book.SetState(c.key, addressbook.Ready)
	return s.result(c, e)
}

// available is nil when the agent can serve pods, perhaps after a wait for its start.
func (s *Server) available(ctx context.Context) *protocol.Error {
	if bad := s.awaitSync(ctx); bad != nil {
		return bad
	}
	if err := s.health.Unavailable(); err != nil {
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
	candidates, err := s.pools.Candidates(c.namespace, c.pools())
	if err != nil {
		return addressbook.Endpoint{}, err
	}
	exact, bad := c.exact()
	if bad != nil {
		return addressbook.Endpoint{}, errors.New(bad.Message)
	}
	e, err := c.endpoint()
	if err != nil {
		return addressbook.Endpoint{}, err
	}
	return s.book.Reserve(ctx, addressbook.Request{Endpoint: e, Candidates: candidates, Exact: exact})
}

// establish writes the record and makes the link at the same time. The record takes longer, so it does not wait for
// another thread to wake up.
func (s *Server) establish(ctx context.Context, e addressbook.Endpoint) error {
	spec, err := Spec(e, s.pools.MTU(e.Pools))
	if err != nil {
		return err
	}
	wired := make(chan error, 1)
	go func() { wired <- s.wiring.Wire(spec) }()
	recorded := s.records.Create(ctx, Record(e, s.node))
	if err := <-wired; err != nil {
		return errors.Join(fmt.Errorf("wire pod %s/%s: %w", e.Namespace, e.Pod, err), recorded)
	}
	return recorded
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
	return s.remove(ctx, e, known)
}

// remove takes an endpoint away: from now on its address is settled, and its link waits for the reaper. The mark on the
// link, which outlives the agent, and the record's end come at the same time: until both have, the DEL is not over.
func (s *Server) remove(ctx context.Context, e addressbook.Endpoint, known bool) *protocol.Error {
	if !known {
		marked, err := s.wiring.MarkForReaping(e.Interface)
		if err != nil {
			return cniError(protocol.CodeInternal, "%s.", sentence(err))
		}
		if marked {
			s.reaper.add(job{endpoint: e})
		}
		return nil
	}
	if e.State == addressbook.Releasing {
		return nil // the reaper has it
	}
	// The state comes first: a record that vanishes while its endpoint is Ready is written again.
	s.book.SetState(e.Interface, addressbook.Releasing)
	marked := make(chan error, 1)
	go func() {
		_, err := s.wiring.MarkForReaping(e.Interface)
		marked <- err
	}()
	deleted := s.records.Delete(ctx, e.Namespace, RecordName(e))
	unmarked := <-marked
	if deleted != nil {
		s.book.SetState(e.Interface, addressbook.Ready)
		if errors.Is(deleted, ErrAPIUnavailable) {
			return cniError(protocol.CodeTryAgainLater, "%s; try again later.", sentence(deleted))
		}
		return cniError(protocol.CodeInternal, "%s.", sentence(deleted))
	}
	s.reaper.add(job{endpoint: e})
	if unmarked != nil {
		return cniError(protocol.CodeInternal, "%s.", sentence(unmarked))
	}
	return nil
}

func (s *Server) check(ctx context.Context, c *call) *protocol.Error {
	if bad := s.available(ctx); bad != nil {
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
		release, err := s.locks.acquire(ctx, e.Interface)
		if err != nil {
			return cniError(protocol.CodeTryAgainLater, "The time for GC has run out; try again later.")
		}
		if bad := s.remove(ctx, e, true); bad != nil {
			failed, code = append(failed, bad.Message), bad.Code
		}
		release()
	}
	if len(failed) > 0 {
		return cniError(code, "%d endpoints could not be removed; the first: %s", len(failed), failed[0])
	}
	return nil
}

func (s *Server) status() *protocol.Error {
	if err := s.health.Unavailable(); err != nil {
		return cniError(protocol.CodeNotAvailable, "%s.", sentence(err))
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
