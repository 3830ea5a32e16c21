package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sipxrest/internal/webhook"

	"github.com/google/go-cmp/cmp"
)

func TestAnswersAreReadInEverySpelling(t *testing.T) {
	answer := func(f func(*Decision)) Decision {
		d := Decision{Action: Answer, Room: "r"}
		if f != nil {
			f(&d)
		}
		return d
	}
	hangup := func(code int, reason string) Decision { return Decision{Action: Hangup, Code: code, Reason: reason} }
	transfer := func(to string, ring time.Duration) Decision { return Decision{Action: Transfer, To: to, Ring: ring} }
	for _, c := range []struct {
		json string
		want Decision
	}{
		{`{"dispatch_action":"accept","room_name":"r"}`, answer(nil)},
		{`{"dispatch_action":"answer","room_name":"r"}`, answer(nil)},
		{`{"dispatch_action":"ACTION_ANSWER","room_name":"r"}`, answer(nil)},
		{`{"action":"Action_Answer","roomName":"r"}`, answer(nil)},
		{`{"dispatchAction":"ANSWER","ROOM_NAME":"r"}`, answer(nil)},
		{`{"action":"answer","dispatch_action":"answer","room_name":"r"}`, answer(nil)},
		{`{"room_name":"r"}`, answer(nil)},
		{`{"room_name":"r","dispatch_action":null}`, answer(nil)},
		{`{"room_name":"r","unknown":{"a":[1,2]},"unknown":3}`, answer(nil)},
		{`{"room_name":"r","pin":"0123"}`, answer(func(d *Decision) { d.PIN = "0123" })},
		{`{"room_name":"r","pin":1234}`, answer(func(d *Decision) { d.PIN = "1234" })},
		{`{"room_name":"r","metadata":"x","attributes":{"a":"b","n":1}}`, answer(func(d *Decision) {
			d.Metadata, d.Attributes = "x", map[string]string{"a": "b", "n": "1"}
		})},
		{`{"room_name":"r","metadata":{"a": 1}}`, answer(func(d *Decision) { d.Metadata = `{"a":1}` })},
		{`{"room_name":"r","room_preset":"p","roomConfig":{"x":1},"krispEnabled":true}`, answer(func(d *Decision) {
			d.RoomPreset, d.RoomConfig, d.Krisp = "p", []byte(`{"x":1}`), []byte("true")
		})},
		{`{"room_name":"r","media_encryption":"SRTP"}`, answer(func(d *Decision) { d.Media = MediaSecure })},
		{`{"room_name":"r","mediaEncryption":"SIP_MEDIA_ENCRYPT_REQUIRE"}`, answer(func(d *Decision) { d.Media = MediaSecure })},
		{`{"room_name":"r","media_encryption":"DISABLE"}`, answer(func(d *Decision) { d.Media = MediaInClear })},
		{`{"room_name":"r","media_encryption":"sip_media_encrypt_disable"}`, answer(func(d *Decision) { d.Media = MediaInClear })},
		{`{"room_name":"r","media_encryption":"SIP_MEDIA_ENCRYPT_ALLOW"}`, answer(nil)},
		{`{"action":"reject"}`, hangup(603, "")},
		{`{"action":"hangup","room_name":"r"}`, Decision{Action: Hangup, Code: 603, Room: "r"}},
		{`{"action":"ACTION_REJECT","reject_status_code":486}`, hangup(486, "")},
		{`{"action":"ACTION_HANGUP","rejectStatusCode":"486","reject_reason":"On holiday"}`, hangup(486, "On holiday")},
		{`{"action":"reject","reject_status_code":"SIP_STATUS_BUSY_HERE"}`, hangup(486, "")},
		{`{"action":"reject","reject_status_code":"global_decline"}`, hangup(603, "")},
		{`{"action":"reject","reject_status_code":"SIP_STATUS_UNKNOWN"}`, hangup(603, "")},
		{`{"action":"reject","reject_status_code":0}`, hangup(603, "")},
		{`{"action":"reject","reject_status_code":699}`, hangup(699, "")},
		{`{"action":"reject","reject_reason":"a\r\nVia: x\n\u0000\u202eb"}`, hangup(603, "a Via: x b")},
		{`{"action":"transfer","transfer_to":"sip:a@b"}`, transfer("sip:a@b", 30*time.Second)},
		{`{"action":"ACTION_TRANSFER","transferTo":"SIPS:a%2Fb@B.example:5071;transport=TCP","transferRingingTimeout":12}`,
			transfer("sips:a%2Fb@b.example:5071;transport=tcp", 12*time.Second)},
		{`{"action":"transfer","transfer_to":"tel:+49-30(1)2","transfer_ringing_timeout":"12s"}`, transfer("tel:+493012", 12*time.Second)},
		{`{"action":"transfer","transfer_to":"+1 (555) 1234"}`, Decision{Action: Transfer, To: "tel:+15551234", Number: true,
			Ring: 30 * time.Second}},
		{`{"action":"transfer","transfer_to":"sip:a@b","media_encryption":2}`,
			Decision{Action: Transfer, To: "sip:a@b", Ring: 30 * time.Second, Media: MediaSecure}},
		{`{"action":"transfer","transfer_to":"sip:a@b","mediaEncryption":0}`,
			Decision{Action: Transfer, To: "sip:a@b", Ring: 30 * time.Second, Media: MediaInClear}},
		{`{"action":"transfer","transfer_to":"sip:a@[2001:db8::1]:99","transfer_ringing_timeout":"12"}`,
			transfer("sip:a@[2001:db8::1]:99", 12*time.Second)},
		{`{"action":"transfer","transfer_to":"sip:a@b","transfer_ringing_timeout":1.5,"destination_name":"Sales\r\n"}`,
			Decision{Action: Transfer, To: "sip:a@b", Ring: 1500 * time.Millisecond, DisplayName: "Sales"}},
		{`{"action":"transfer","transfer_to":"phone:sam"}`, transfer("phone:sam", 30*time.Second)},
		{`{"action":"transfer","transfer_to":"Phone:j%C3%B6rg@home"}`, transfer("phone:j%C3%B6rg%40home", 30*time.Second)},
		{`{"action":"transfer","transfer_to":"sip:a@b","transfer_ringing_timeout":0}`, transfer("sip:a@b", 30*time.Second)},
	} {
		got, err := ParseDecision([]byte(c.json))
		if err != nil {
			t.Errorf("%s: %v", c.json, err)
			continue
		}
		if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b webhook.Secret) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", c.json, diff)
		}
	}
}

func TestAnswersThatAreRefused(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{``, "empty"},
		{`[]`, "a JSON object is expected"},
		{`null`, "a JSON object is expected"},
		{`{}`, "dispatch_action: missing"},
		{`{"metadata":"x"}`, "dispatch_action: missing"},
		{`{"room_name":""}`, "dispatch_action: missing"},
		{`{"action":"dance","room_name":"r"}`, `dispatch_action: "dance" is unknown`},
		{`{"action":1,"room_name":"r"}`, "dispatch_action: a text is expected"},
		{`{"action":"answer"}`, "room_name: missing"},
		{`{"action":"answer","room_name":7}`, "room_name: a text is expected"},
		{`{"room_name":"r","pin":"12a"}`, "pin: up to 32 digits"},
		{`{"room_name":"r","pin":["1"]}`, "pin: digits are expected"},
		{`{"room_name":"r","attributes":[1]}`, "attributes: names with texts"},
		{`{"room_name":"r","krisp_enabled":7}`, "krisp_enabled: 7 is neither true nor false"},
		{`{"room_name":"r","media_encryption":"ROT13"}`, `media_encryption: "ROT13" is unknown`},
		{`{"room_name":"r","room_name":"s"}`, "room_name: there twice"},
		{`{"room_name":"r","roomName":"s"}`, "roomName: there twice"},
		{`{"action":"answer","dispatch_action":"reject","room_name":"r"}`, "dispatch_action: there twice"},
		{`{"room_name":"r"}{}`, "more than one JSON value"},
		{`{"room_name":"r"} x`, "more than one JSON value"},
		{`{"room_name":"r"`, "not JSON"},
		{"{\"room_name\":\"\xff\"}", "not UTF-8"},
		{`{"a":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `,"room_name":"r"}`, "nested deeper"},
		{`{"room_name":"r","a":"` + strings.Repeat("x", webhook.MaxAnswer) + `"}`, "longer than 65536 bytes"},
		{"{" + strings.Repeat(`"a":1,`, 1001) + `"room_name":"r"}`, "more than 1000 fields"},
		{`{"action":"reject","reject_status_code":200}`, "reject_status_code: 200 does not refuse a call"},
		{`{"action":"reject","reject_status_code":302}`, "does not refuse"},
		{`{"action":"reject","reject_status_code":401}`, "401 asks for credentials"},
		{`{"action":"reject","reject_status_code":"SIP_STATUS_PROXY_AUTH_REQUIRED"}`, "407 asks for credentials"},
		{`{"action":"reject","reject_status_code":700}`, "does not refuse"},
		{`{"action":"reject","reject_status_code":-486}`, "does not refuse"},
		{`{"action":"reject","reject_status_code":4.86}`, "is no SIP status"},
		{`{"action":"reject","reject_status_code":"NOPE"}`, "is no SIP status"},
		{`{"action":"reject","reject_status_code":true}`, "a text is expected"},
		{`{"action":"transfer"}`, "transfer_to: missing"},
		{`{"action":"transfer","transfer_to":"201"}`, "write a sip:, sips: or tel: URI"},
		{`{"action":"transfer","transfer_to":"+"}`, "write a sip:, sips: or tel: URI"},
		{`{"action":"transfer","transfer_to":"sip:a@b","media_encryption":3}`, "media_encryption"},
		{`{"action":"transfer","transfer_to":"http://a@b"}`, "write a sip:, sips: or tel: URI"},
		{`{"action":"transfer","transfer_to":"phone:"}`, "write phone: and the name"},
		{`{"action":"transfer","transfer_to":"phone:a b"}`, "write phone: and the name"},
		{`{"action":"transfer","transfer_to":"phone:a%0d%0aVia:x"}`, "write phone: and the name"},
		{`{"action":"transfer","transfer_to":"phone:%zz"}`, "write phone: and the name"},
		{`{"action":"transfer","transfer_to":"sip:b"}`, "write sip:user@host"},
		{`{"action":"transfer","transfer_to":"sip:a@b?Route=x"}`, "neither a host name"},
		{`{"action":"transfer","transfer_to":"sip:a@b;maddr=127.0.0.1"}`, "only transport and user=phone"},
		{`{"action":"transfer","transfer_to":"sip:a@b;transport=udp;transport=tcp"}`, "only transport and user=phone"},
		{`{"action":"transfer","transfer_to":"sip:a:secret@b"}`, "characters that a user does not have"},
		{`{"action":"transfer","transfer_to":"sip: 4930123456@b"}`, "was it a +?"},
		{`{"action":"transfer","transfer_to":"sip:%204930123456@b"}`, "was it a +?"},
		{`{"action":"transfer","transfer_to":"sip:a%20@b"}`, "begins or ends with a blank"},
		{`{"action":"transfer","transfer_to":"tel: 4930123456"}`, "digits and separators only"},
		{`{"action":"transfer","transfer_to":"sip:a%0d%0aVia:x@b"}`, "characters that a user does not have"},
		{`{"action":"transfer","transfer_to":"sip:a%3Bx@b"}`, "characters that a user does not have"},
		{`{"action":"transfer","transfer_to":"sip:a@b>\r\nX: y"}`, "is no port"},
		{`{"action":"transfer","transfer_to":"sip:a@b@c"}`, "neither a host name"},
		{`{"action":"transfer","transfer_to":"sip:a@0x7f.1"}`, "neither a host name"},
		{`{"action":"transfer","transfer_to":"sip:a@2130706433"}`, "neither a host name"},
		{`{"action":"transfer","transfer_to":"sip:a@0177.0.0.1"}`, "neither a host name"},
		{`{"action":"transfer","transfer_to":"sip:a@b:0"}`, "is no port"},
		{`{"action":"transfer","transfer_to":"sip:a@b:+5060"}`, "is no port"},
		{`{"action":"transfer","transfer_to":"tel:+49;ext=1"}`, "digits and separators only"},
		{`{"action":"transfer","transfer_to":"sip:a@b","transfer_ringing_timeout":-1}`, "is not between 1s and 10m0s"},
		{`{"action":"transfer","transfer_to":"sip:a@b","transfer_ringing_timeout":"1h"}`, "is not between"},
		{`{"action":"transfer","transfer_to":"sip:a@b","transfer_ringing_timeout":1e300}`, "is not between"},
		{`{"action":"transfer","transfer_to":"sip:a@b","transfer_ringing_timeout":"soon"}`, "is not a time"},
	} {
		if got, err := ParseDecision([]byte(c.json)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s: got %+v, error %v, want %q", c.json, got, err, c.want)
		}
	}
}

func TestAPINIsNotInAnError(t *testing.T) {
	for _, text := range []string{`{"room_name":"r","pin":"98a76"}`, `{"room_name":"r","pin":{"98a76":1}}`} {
		if _, err := ParseDecision([]byte(text)); err == nil || strings.Contains(err.Error(), "98a76") {
			t.Errorf("%v", err)
		}
	}
	d := Decision{PIN: "98a76"}
	if s := fmt.Sprintf("%v %+v %#v %s", d, d, d, d.PIN); strings.Contains(s, "98a76") {
		t.Error(s)
	}
}

func TestMediaThatADecisionAsksForIsLookedForInTheOffer(t *testing.T) {
	const (
		inClear = "v=0\r\nm=audio 4000 RTP/AVP 0\r\n"
		secure  = "v=0\r\nm=audio 4000 RTP/SAVP 0\r\n"
		dtls    = "v=0\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n"
		both    = inClear + "m=audio 4000 RTP/SAVP 0\r\n"
		refused = secure + "m=video 0 RTP/AVP 0\r\n"
	)
	for _, c := range []struct {
		offer                string
		any, secure, inClear bool
	}{
		{inClear, true, false, true},
		{secure, true, true, false},
		{dtls, true, true, false},
		{both, true, false, false},
		{refused, true, true, false},
		{"", true, false, true},
	} {
		got := []bool{MediaAny.allows([]byte(c.offer)), MediaSecure.allows([]byte(c.offer)), MediaInClear.allows([]byte(c.offer))}
		if want := []bool{c.any, c.secure, c.inClear}; !cmp.Equal(got, want) {
			t.Errorf("%q: %v, want %v", c.offer, got, want)
		}
	}
}

func FuzzDecision(f *testing.F) {
	for _, s := range []string{
		`{"dispatch_action":"answer","room_name":"r","pin":"12","metadata":{"a":1},"attributes":{"a":"b"},"media_encryption":"SRTP"}`,
		`{"action":"reject","reject_status_code":"SIP_STATUS_BUSY_HERE","reject_reason":"a\r\nb"}`,
		`{"action":"transfer","transfer_to":"sip:a%41@[::1]:5060;transport=tcp","transfer_ringing_timeout":"1.5s","destination_name":"x"}`,
		`{"action":"transfer","transfer_to":"phone:a%2541"}`,
		`{"action":"transfer","transfer_to":"tel:+49(30)1"}`, `{"a":[[[{}]]],"a":"\u0000"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseDecision(data)
		if err != nil {
			return
		}
		for _, s := range []string{d.Reason, d.To, d.DisplayName} {
			if strings.ContainsAny(s, "\r\n\x00") {
				t.Errorf("%q", s)
			}
		}
		switch d.Action {
		case Answer:
			if d.Room == "" {
				t.Error("answer without a room")
			}
			if uri, err := roomTarget("sip:{room}@conf.example", d.Room); err == nil && !strings.HasSuffix(uri, "@conf.example") ||
				strings.Count(uri, "@") > 1 || strings.ContainsAny(uri, " <>;?\r\n") {
				t.Errorf("%q", uri)
			}
		case Hangup:
			if checkCode(d.Code) != nil {
				t.Error(d.Code)
			}
		case Transfer:
			again, err := parseTarget(d.To)
			if err != nil || again != d.To || d.Ring < leastRing || d.Ring > mostRing || strings.ContainsAny(d.To, " <>?\"") {
				t.Errorf("%q %q %v %v", d.To, again, d.Ring, err)
			}
		default:
			t.Error("no action")
		}
	})
}
