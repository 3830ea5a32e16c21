package api

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sipxrest/internal/capture"
	"sipxrest/sipflow/siptest"
)

// The SIP messages of a call, in each of their forms, are for the scope admin alone.
func TestMessagesOfACall(t *testing.T) {
	ring := capture.New(capture.All, 1<<20)
	set := setup{phones: map[string]siptest.Script{"202": {Status: 486}}, api: func(c *Config) { c.Messages = ring }}
	withCalls(t, set, func(t *testing.T, cr *callRig) {
		id := cr.call(`{"calling":"201","called":"202","id":"call-with-messages"}`)
		after(10 * time.Second)
		target := "/v1/calls/" + id + "/messages"
		cr.refuses(MissingScope, "GET", target, "")
		if w := cr.ask("GET", target, cr.withKey("all")); w.Code != 404 || problemOf(t, w).Code != NotTraced {
			t.Errorf("without any: %d %s", w.Code, w.Body)
		}
		if w := cr.ask("GET", "/v1/calls/call-that-there-is-not/messages", cr.withKey("all")); problemOf(t, w).Code != CallNotFound {
			t.Errorf("of no call: %d %s", w.Code, w.Body)
		}
		legs := shownCall(t, cr.ask("GET", "/v1/calls/"+id, asUser("201"))).Legs
		m := capture.Message{At: time.Now(), Out: true, Transport: "udp", Local: "192.0.2.1:5060",
			Remote: netip.MustParseAddrPort("192.0.2.9:5060")}
		text := "INVITE sip:201@sipx.test SIP/2.0\r\nCall-ID: " + legs[0].SIP.CallID +
			"\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nAuthorization: Digest response=\"1\"\r\n\r\nv=0\r\n"
		ring.Add(m, []byte(text))
		ring.Claim(id, legs[0].SIP.CallID)
		w := cr.ask("GET", target, cr.withKey("all"))
		var page messagePage
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 || len(page.Data) != 1 {
			t.Fatal(w.Code, w.Body)
		}
		if got := page.Data[0]; got.Leg != "l1" || got.Direction != "out" || got.StartLine != "INVITE sip:201@sipx.test SIP/2.0" ||
			got.CSeq != "1 INVITE" ||
			!got.SDP || strings.Contains(got.Message, `"1"`) {
			t.Errorf("%+v", got)
		}
		for query, want := range map[string]string{"?format=text": "text/plain; charset=utf-8", "?format=pcap": "application/vnd.tcpdump.pcap"} {
			w := cr.ask("GET", target+query, cr.withKey("all"))
			if w.Code != 200 || w.Header().Get("Content-Type") != want || w.Body.Len() < 100 {
				t.Errorf("%s: %d %s %d bytes", query, w.Code, w.Header(), w.Body.Len())
			}
		}
		if w := cr.ask("GET", target, cr.withKey("all"), header("Accept", "application/vnd.tcpdump.pcap")); w.Body.Len() < 24 ||
			w.Body.Bytes()[0] != 0xd4 {
			t.Errorf("by Accept: %d %.20q", w.Code, w.Body)
		}
		if w := cr.ask("GET", target+"?format=xml", cr.withKey("all")); problemOf(t, w).Code != InvalidRequest {
			t.Errorf("in no form that there is: %d %s", w.Code, w.Body)
		}
	})
}
