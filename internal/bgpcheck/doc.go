// Package bgpcheck says which BGPPeers, BGPConfigurations and BGPFilters are valid, and why not. The agent leaves out what
// is not; the controller says so in the object's status; both use the same reasons and sentences. Specs come in, problems
// go out; it does no I/O.
package bgpcheck

// Problem is why an object, or a part of it, has no effect.
type Problem struct {
	// Reason is one of those below.
	Reason string
	// Message is a sentence that says what to do.
	Message string
}

// Reasons, each for one kind of mistake.
const (
	// InvalidSelector is a label selector that can't be read.
	InvalidSelector = "InvalidSelector"
	// NoNodeSelected is a nodeSelector that matches no node, NoPeerSelected a peerSelector that does not.
	NoNodeSelected = "NoNodeSelected"
	NoPeerSelected = "NoPeerSelected"
	// InvalidAddress, InvalidASNumber, InvalidTimers, InvalidCIDR and InvalidCommunity name the value that is wrong.
	InvalidAddress   = "InvalidAddress"
	InvalidASNumber  = "InvalidASNumber"
	InvalidTimers    = "InvalidTimers"
	InvalidCIDR      = "InvalidCIDR"
	InvalidCommunity = "InvalidCommunity"
	// Contradiction is two settings that exclude each other.
	Contradiction = "Contradiction"
	// DuplicatePeer is an older BGPPeer that has the same session.
	DuplicatePeer = "DuplicatePeer"
	// NoSourceAddress is a node without an address of the peer's family.
	NoSourceAddress = "NoSourceAddress"
	// SecretNotFound, SecretKeyNotFound, PasswordEmpty and PasswordTooLong are about a session's password.
	SecretNotFound    = "SecretNotFound"
	SecretKeyNotFound = "SecretKeyNotFound"
	PasswordEmpty     = "PasswordEmpty"
	PasswordTooLong   = "PasswordTooLong"
	// FilterNotFound and InvalidFilter are about a BGPFilter that a BGPPeer names.
	FilterNotFound = "FilterNotFound"
	InvalidFilter  = "InvalidFilter"
	// InvalidRule is a filter's rule that can't be used. RuleNeverReached is one behind a rule that matches every route.
	InvalidRule      = "InvalidRule"
	RuleNeverReached = "RuleNeverReached"
)
