package cniserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containernetworking/cni/pkg/version"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
)

// printedError is a CNI error as the plugin prints it (CNI spec section 5, "Error").
type printedError struct {
	CNIVersion string `json:"cniVersion,omitempty"`
	Code       uint   `json:"code"`
	Message    string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

// answerText is what goes to the plugin: its exit status and what it is to print.
func answerText(config []byte, r protocol.Response) ([]byte, error) {
	if r.Error == nil {
		text := append([]byte{protocol.Succeeded}, r.Result...)
		if len(r.Result) > 0 {
			text = append(text, '\n')
		}
		return text, nil
	}
	var asked struct {
		CNIVersion string `json:"cniVersion"`
	}
	_ = json.Unmarshal(config, &asked) // a broken configuration is what the error is about
	text, err := json.MarshalIndent(printedError{asked.CNIVersion, r.Error.Code, r.Error.Message, r.Error.Details}, "", "    ")
	if err != nil {
		return nil, fmt.Errorf("write down a CNI error: %w", err)
	}
	return append(append([]byte{protocol.Failed}, text...), '\n'), nil
}

// readRequest reads a request up to its end.
func readRequest(from io.Reader) (protocol.Request, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxRequest+1))
	switch {
	case err != nil:
		return protocol.Request{}, err
	case len(text) > maxRequest:
		return protocol.Request{}, fmt.Errorf("it is longer than %d bytes", maxRequest)
	}
	r, ok := protocol.DecodeRequest(text)
	if !ok {
		return protocol.Request{}, errors.New("it is cut off, or the plugin and the agent are of different versions")
	}
	return r, nil
}

// firstVersion is the version of the CNI specification that a verb came with.
var firstVersion = map[string]string{"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

// checkVersion refuses versions of the CNI specification that we do not know, and verbs that the asked one does not have.
func checkVersion(verb, asked string) *protocol.Error {
	if asked == "" {
		asked = "0.1.0" // CNI spec: a configuration without a version has the first
	}
	known := false
	for _, v := range protocol.Versions {
		known = known || v == asked
	}
	if !known {
		return cniError(protocol.CodeIncompatibleVersion, "cniVersion %q is not supported; use one of %v.", asked, protocol.Versions)
	}
	if first := firstVersion[verb]; first != "" {
		if there, err := version.GreaterThanOrEqualTo(asked, first); err != nil || !there {
			return cniError(protocol.CodeIncompatibleVersion, "cniVersion %s has no %s; use %s or newer.", asked, verb, first)
		}
	}
	return nil
}
