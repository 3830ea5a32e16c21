package talktest

import (
	"fmt"
	"strings"
)

// Fault is something that a bridge must not do.
type Fault struct {
	Kind   FaultKind
	Detail string
}

func (f Fault) Error() string { return fmt.Sprintf("the bridge is at fault: %s: %s", f.Kind, f.Detail) }

// FaultKind names a fault.
type FaultKind string

const (
	NotVerified   FaultKind = "accepted without asking Nextcloud"
	NoRoom        FaultKind = "an answer or status without its room"
	NotCleared    FaultKind = "a call that was accepted is never rejected or cleared"
	NoActor       FaultKind = "a phone session without the actor"
	ReusedID      FaultKind = "the id of a request used again"
	Injected      FaultKind = "CR or LF of the caller in SIP"
	LateAccept    FaultKind = "accepted too late"
	AddedTwice    FaultKind = "a phone session added twice"
	AfterEnd      FaultKind = "a status after the last one"
	BridgeInRoom  FaultKind = "a connection for dial-outs joined a room"
	TooManyHellos FaultKind = "a refused hello is tried again at once"

	// Of media.
	InTwoSteps     FaultKind = "in the call before audio is: the apps never ask for it then"
	NotConnected   FaultKind = "in the call with audio before it can be heard"
	AskedItself    FaultKind = "asks for its own offer"
	AskedPhone     FaultKind = "asks for the offer of a phone, which has none"
	AskedGone      FaultKind = "asks for the offer of a session that has left"
	OfferCodecs    FaultKind = "an offer with more than the one codec that it names"
	OfferData      FaultKind = "an offer with a data channel"
	WrongSID       FaultKind = "an answer with another sid than its offer"
	EarlyCandidate FaultKind = "a candidate before the answer"
	Echo           FaultKind = "what was heard is published"
	SecondOffer    FaultKind = "a second publisher, or one that follows the first without incall 0"
	NotLeft        FaultKind = "in the call to the end, without incall 0"
)

// fault fails the test. The caller holds l.mu.
func (l *Lab) fault(kind FaultKind, format string, args ...any) {
	f := Fault{kind, fmt.Sprintf(format, args...)}
	if l.OnFault != nil {
		l.OnFault(f)
		return
	}
	l.t.Error(f)
}

// HostileCaller is a caller that adds a header field to the SIP of a bridge that
// does not look.
const HostileCaller = "+493012345\r\nX-Injected: yes"

// SawSIP is told of SIP that the bridge has sent.
func (l *Lab) SawSIP(message string) {
	for line := range strings.Lines(message) {
		if strings.HasPrefix(line, "X-Injected") {
			l.mu.Lock()
			l.fault(Injected, "%q", line)
			l.mu.Unlock()
		}
	}
}
