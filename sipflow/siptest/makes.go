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

// The audio of some makes. What their streams say is what such phones send.

// usualFormats are those of a desk phone.
var usualFormats = []string{"9 G722/8000", "0 PCMU/8000", "8 PCMA/8000", "101 telephone-event/8000"}

// Desk is a desk phone that reads descriptions closely.
func Desk() Media { return Media{Formats: usualFormats} }

// Browser is JsSIP in a browser: audio by WebRTC alone. It refuses RTP by 488 and makes
// offers of its own. With an offer without streams it rings for ever.
func Browser() Media {
	return Media{Formats: []string{"111 opus/48000/2", "9 G722/8000", "0 PCMU/8000", "8 PCMA/8000", "110 telephone-event/48000"},
		Profile: "UDP/TLS/RTP/SAVPF", Needs: "a=fingerprint:", OneTrack: true, NeedsStream: true, Lines: []string{
			"a=rtcp:9 IN IP4 0.0.0.0", "a=candidate:1 1 udp 2122260223 10.0.0.2 40000 typ host generation 0", "a=ice-ufrag:N7Dx",
			"a=ice-pwd:3QnJ0bNp9Vhg5kH0FcG7yQ3a", "a=ice-options:trickle",
			"a=fingerprint:sha-256 5C:1F:8E:0A:5B:6D:52:8F:93:C1:3C:5E:0D:0F:8B:B6:6E:37:5B:7C:0A:8E:42:B6:DE:25:6B:20:94:72:DD:1C",
			"a=setup:actpass", "a=mid:0", "a=rtcp-mux", "a=rtcp-rsize"}}
}

// SRTPOnly is a phone with mandatory SRTP: it refuses RTP/AVP by 488.
func SRTPOnly() Media {
	return Media{Formats: usualFormats, Profile: "RTP/SAVP", Needs: "a=crypto:", Lines: []string{
		"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"}}
}

// SRTPOptional is a Linphone with optional SRTP: asked to offer it offers SRTP alone,
// and it takes RTP as well.
func SRTPOptional() Media {
	m := SRTPOnly()
	m.Others, m.Needs = []string{"RTP/AVP"}, ""
	return m
}

// OpusOnly is a phone with no codec but Opus.
func OpusOnly() Media {
	return Media{Formats: []string{"107 opus/48000/2", "101 telephone-event/8000"}}
}

// NoLateOffer is FreeSWITCH without enable-3pcc: 488 to an INVITE without an offer.
func NoLateOffer() Media { return Media{Formats: usualFormats, NoLateOffer: true} }

// Gateway is a SIP-I gateway, whose descriptions come with ISUP.
func Gateway() Media { return Media{Formats: usualFormats[1:], Multipart: true} }
