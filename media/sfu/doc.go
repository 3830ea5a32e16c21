// Package sfu is the service's side of its connections with a media server of
// WebRTC (Janus behind Nextcloud Talk's signaling server): audio is published
// by a [Publisher], and participants are heard by [Subscription]s. It knows
// session descriptions and candidates, and nothing of signaling. It alone
// imports pion/webrtc.
package sfu
