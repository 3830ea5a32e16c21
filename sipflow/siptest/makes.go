package siptest

import (
	"time"

	"github.com/emiago/sipgo/sip"
)

// What makes of PBXs and phones do that the usual script does not, as they were
// seen to with their default settings.

// asteriskSDP is what Asterisk offers when it lets two phones send each other
// their audio: its telephone events have a dynamic payload type.
const asteriskSDP = "v=0\r\no=- 1287449873 1287449875 IN IP4 10.0.0.2\r\ns=Asterisk\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n" +
	"m=audio 17342 RTP/AVP 0 8 3 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:3 GSM/8000\r\n" +
	"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:150\r\na=sendrecv\r\n"

// AsteriskDirectMedia is a phone of Asterisk's chan_pjsip with direct_media=yes, its
// default: as soon as it has answered, Asterisk invites us again, to have the
// audio go past itself. It hangs up when our answer is not to pjproject's taste.
func AsteriskDirectMedia() Script {
	return Script{Exacting: true, Do: []Action{{After: 20 * time.Millisecond, Method: sip.INVITE, Body: asteriskSDP}}}
}

// AsteriskNotReady is a phone of Asterisk that is asked to transfer it before it
// has joined the channels of its two sides, which takes it so long. line is its
// report: "SIP/2.0 400 Bad Request" from chan_pjsip, "SIP/2.0 503 Service
// Unavailable" from chan_sip, which calls it a one-legged transfer.
func AsteriskNotReady(takes time.Duration, line string) Script {
	return Script{Exacting: true, Refer: Refer{NotReady: Unready{For: takes, Line: line}}}
}

// LinphoneDeclined is a Linphone whose call to the other phone is declined: its
// last report says so, and that the subscription is active.
func LinphoneDeclined() Script {
	return Script{Refer: Refer{Notify: []Notify{
		{Line: "SIP/2.0 100 Trying"},
		{After: time.Second, Line: "SIP/2.0 603 Decline", State: "active;expires=0"},
	}}}
}

// OutOfOrder is a phone whose BYE overtakes its last report about the other
// phone, as UDP and proxies with several processes let it.
func OutOfOrder() Script { return Script{Refer: Refer{Overtaken: true}} }
