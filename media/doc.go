// Package media carries the audio of one SIP leg: RTP (RFC 3550) with G.722,
// PCMA and PCMU on one side, linear PCM on the other: 16,000 samples a second,
// mono, int16, which is what the phone sockets speak.
//
// # Use
//
// [NewPorts] once per process, [Ports.Open] once per leg, then either
// [Session.Offer] and [Session.Accept] or [Session.Answer], again and again as
// the dialog goes on. [Session.Write] is the way to the phone, [Options] has
// the callbacks for what comes from it, [Session.Close] ends it all.
//
// An owner that has a clock of its own, such as that of a mixer, sets
// [Options.Stepped] and calls [Session.Pull] and [Session.Push] in place of it.
// [Session.SendDigit] presses keys towards the phone.
//
// # Encryption
//
// SRTP (RFC 3711) is done with keys in the session descriptions (RFC 4568), as
// [Options.Security] says. Our key changes when the phone's does, and never
// otherwise. Packets that are not by the phone's key count for nothing.
//
// # Goroutines
//
// Each session has two readers, one for each socket (RTP, RTCP). From the first
// negotiation on it has a clock, unless it is stepped, which every 20 ms sends one packet and plays
// one frame. The clock owns both codecs and makes all callbacks; the reader
// sorts packets into the jitter buffer under Session.mu. Nothing that comes
// from outside makes any of them wait.
//
// # Where packets go, and whose packets count
//
// A session sends to the address that the peer's session description named,
// or to the one that it latched on, and nowhere else.
//
//   - An address that is multicast, broadcast, loopback, link-local, reserved
//     or one of this machine's own is refused (488), and so is a port below
//     1024. [Config.Allow] lists networks that are exempt, such as 127.0.0.0/8
//     for a phone on the same machine.
//   - Symmetric RTP (RFC 4961): the first packet with a negotiated payload
//     type locks the session on its source, if it comes from the address of
//     the description (any port), from [Options.Signaling], or from
//     [Config.LatchFrom]. From then on packets from elsewhere change nothing.
//   - The lock moves to another source that these rules admit only if a new
//     description changes the address, if the exact address and port of the
//     description speaks after all, or if the locked source has been silent for 3 s.
//   - A new SSRC from the locked source counts once two packets in sequence
//     have shown it (RFC 3550 A.1).
//   - RTCP is read from the IP address that RTP comes from, and goes to the
//     port that the peer named or else the one above its RTP port.
//
// # Limits
//
// Packets are at most 1500 bytes, descriptions 16 KiB with 16 m= lines. Audio
// to the phone waits at most 240 ms, audio from it at most 200 ms; what is
// older is dropped.
package media
