package talk

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// What a signaling server may send, whoever it is: nothing panics, what is
// passed on is within its bounds, and requests get one response.
func FuzzReceive(f *testing.F) {
	for _, m := range []string{
		`{"id":"Q","type":"internal","internal":{"type":"dialout","dialout":{"roomid":"4271953862","backend":"http://c.example/",` +
			`"request":{"number":"+493055500200","options":{"actorId":"a","actorType":"phones","attendeeId":101,"caller":"+493012345"}}}}}`,
		`{"id":"Q","type":"internal","internal":{"type":"dialout"}}`,
		`{"type":"control","control":{"sender":{"type":"session","sessionid":"U","userid":"m"},"recipient":{"type":"session",` +
			`"sessionid":"call-1"},"data":{"type":"hangup"}}}`,
		`{"type":"control","control":{"sender":null,"recipient":{"type":"session","sessionid":"call-1"},` +
			`"data":{"hangup":{"reason":"disinvited"},"type":"hangup"}}}`,
		`{"type":"control","control":{"sender":null,"recipient":{"type":"session","sessionid":"call-1"},"data":{"type":"dtmf","digit":"5"}}}`,
		`{"type":"control","control":{"sender":null,"recipient":{"type":"session","sessionid":"call-1"},"data":{"type":"mute","audio":-1}}}`,
		`{"type":"event","event":{"target":"room","type":"join","join":[{"sessionid":"U","userid":"","user":{"type":"phone"}}]}}`,
		`{"type":"event","event":{"target":"room","type":"leave","leave":["U"]}}`,
		`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"1","users":[{"sessionId":"U","inCall":7,` +
			`"virtual":true}]}}}`,
		`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"1","incall":0,"all":true}}}`,
		`{"type":"event","event":{"target":"room","type":"delete"}}`,
		`{"type":"room","room":{"roomid":""}}`, `{"id":"add-1","type":"error","error":{"code":"add_failed","message":"x"}}`,
		`{"id":"join","type":"error","error":{"code":"x"}}`,
		`{"type":"bye","bye":{"reason":5}}`, `[]`, `null`, `5`,
	} {
		f.Add([]byte(m))
	}
	cfg := Config{Servers: []Server{{URL: "http://s.example", Secret: "s",
		Backends: []BackendConfig{{URL: "http://c.example", SIPSecret: "x"}}}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		requests := 0
		cfg.Handler = Handler{
			Dialout: func(r *Request) {
				requests++
				if !roomToken.MatchString(r.RoomID) || len(r.Options.Raw) > 0 && !json.Valid(r.Options.Raw) {
					t.Errorf("room %q, options %q", r.RoomID, r.Options.Raw)
				}
				if err := r.Refuse("x", "y"); err != nil {
					t.Error(err)
				}
			},
			Control: func(_ *Session, c Control) {
				if c.CallID != "call-1" || c.Kind == DTMF && !strings.ContainsRune("0123456789*#", rune(c.Digit)) || c.Mute&^3 != 0 ||
					c.Sender != "" && c.Sender != "U" {
					t.Errorf("%+v", c)
				}
			},
		}
		client, err := New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s := client.Sessions()[0]
		if err := s.AddSession(Phone{CallID: "call-1", RoomID: "1"}); err != nil {
			t.Fatal(err)
		}
		r := s.newRoom("1")
		r.leave, r.members["U"] = func() {}, &member{}
		r.away, r.inside = false, true
		defer r.close()
		s.rooms["1"] = r
		m := new(message)
		if !read(data, m) {
			return
		}
		_ = s.receive(m)
		_ = r.receive(m)
		_ = m.serverError().Error()
		_ = s.link.bye(m)
		answers := 0
		for _, it := range s.link.out.queue {
			if !json.Valid(it.data) {
				t.Errorf("we say %q", it.data)
			}
			if strings.Contains(string(it.data), `"dialout"`) {
				answers++
			}
		}
		if len(s.requests) != 0 || answers > 1 || requests > answers {
			t.Errorf("%d requests are open, %d answers", len(s.requests), answers)
		}
		if n := r.Humans(); n < -1 || n > len(r.members) || len(r.members) > maxMembers {
			t.Errorf("%d of %d take part", n, len(r.members))
		}
	})
}

// What a room's connection may bring of people and media: nothing panics, what is
// passed on is within its bounds, and only who was named is heard.
func FuzzRoom(f *testing.F) {
	join := `{"type":"event","event":{"target":"room","type":"join","join":[{"sessionid":"U","userid":"alice"},` +
		`{"sessionid":"V","user":{"type":"phone","callid":"call-1"}},{"sessionid":"B","features":["internal-incall"]},{"sessionid":"S"}]}}`
	list := `{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"1","users":[` +
		`{"sessionId":"U","inCall":7,"participantType":1},{"sessionId":"V","inCall":9,"virtual":true},` +
		`{"sessionId":"B","inCall":3,"internal":true},{"sessionId":"S","inCall":false},{"sessionId":"gone","inCall":3}]}}}`
	for _, m := range []string{
		`{"type":"message","message":{"sender":{"type":"session","sessionid":"S"},"data":{"from":"S","to":"S","type":"answer",` +
			`"roomType":"video","payload":{"type":"answer","sdp":"v=0"},"sid":"1"}}}`,
		`{"type":"message","message":{"sender":{"type":"session","sessionid":"U"},"data":{"type":"offer","roomType":"video",` +
			`"payload":{"type":"offer","sdp":"v=0","update":true},"sid":"1"}}}`,
		`{"type":"message","message":{"sender":{"type":"session","sessionid":"U"},"data":{"type":"candidate","roomType":"video",` +
			`"payload":{"candidate":{"sdpMid":"0","sdpMLineIndex":0,"candidate":"candidate:1 1 udp 1 198.18.0.1 1 typ host"}},"sid":"1"}}}`,
		`{"id":"ask-1","type":"error","error":{"code":"client_not_found","message":"No MCU client found to send message to."}}`,
		`{"id":"still","type":"error","error":{"code":"already_joined"}}`, `{"id":"join","type":"room","room":{"roomid":"1"}}`,
		`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"1","changed":[{"sessionId":"U","inCall":3}]}}}`,
		`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"1","incall":0,"all":true}}}`,
		`{"type":"event","event":{"target":"room","type":"leave","leave":["U"]}}`,
	} {
		f.Add([]byte(m), []byte(list), []byte(join))
		f.Add([]byte(join), []byte(m), []byte(list))
		f.Add([]byte(join), []byte(list), []byte(m))
	}
	cfg := Config{Servers: []Server{{URL: "http://s.example", Secret: "s",
		Backends: []BackendConfig{{URL: "http://c.example", SIPSecret: "x"}}}}}
	f.Fuzz(func(t *testing.T, first, second, third []byte) {
		var r *Room
		cfg.Handler = Handler{
			Media: func(_ *Room, m MediaMessage) {
				ours, member := m.From == "S", r.members[m.From] != nil
				switch {
				case m.Kind == MediaOffer && (ours || !member), m.Kind == MediaAnswer && !ours, m.Kind == MediaCandidate && !ours && !member,
					m.Kind == MediaError && (m.ID != "ask-1" || m.From != "U"), m.Kind < MediaOffer || m.Kind > MediaError,
					len(m.SDP) > maxSDP, len(m.SID) > maxSID, len(m.Candidate.Candidate) > maxCandidate,
					(m.Kind == MediaOffer || m.Kind == MediaAnswer) && m.SDP == "":
					t.Errorf("%+v", m)
				}
			},
			Added: func(_ *Session, callID string) {
				if callID != "call-1" {
					t.Errorf("added %q", callID)
				}
			},
		}
		client, err := New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s := client.Sessions()[0]
		if err := s.AddSession(Phone{CallID: "call-1", RoomID: "1"}); err != nil {
			t.Fatal(err)
		}
		r = s.newRoom("1")
		r.leave, r.ctx = func() {}, t.Context()
		r.away, r.inside, r.sessionID = false, true, "S"
		defer r.close()
		s.rooms["1"] = r
		if _, err := r.Ask("U"); err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{first, second, third} {
			m := new(message)
			if !read(data, m) || r.receive(m) != nil {
				return
			}
			people := r.people()
			if people.humans > people.others || people.humans < -1 || people.others > len(r.members) {
				t.Errorf("%+v of %d", people, len(r.members))
			}
			audible := r.Audible()
			if len(audible) > MaxAudible {
				t.Errorf("%d are heard", len(audible))
			}
			if r.listed {
				for _, id := range audible {
					if m := r.members[id]; m == nil || m.virtual || id == "S" || m.flags&3 != 3 {
						t.Errorf("%q is heard: %+v", id, m)
					}
				}
			}
		}
	})
}

// What Nextcloud may answer a caller's PIN with: nothing panics, and what is taken
// is about who was asked for.
func FuzzDialinAnswer(f *testing.F) {
	for _, a := range []string{
		`{"ocs":{"data":{"token":"1","actorType":"users","actorId":"alice","attendeeId":7,"sipEnabled":1,"lobbyState":0,"permissions":246}}}`,
		`{"ocs":{"data":{"token":"1","actorType":"guests","actorId":"g","sipEnabled":false,"permissions":null,"hasCall":true}}}`,
		`{"ocs":{"meta":{"statuscode":998},"data":[]}}`, `{"ocs":{}}`, `[]`, ``,
	} {
		f.Add([]byte(a))
	}
	var answer []byte
	transport := answers(func() []byte { return answer })
	b := newBackend(BackendConfig{URL: "http://c.example", SIPSecret: "x"}, Config{})
	b.client.Transport = transport
	f.Fuzz(func(t *testing.T, data []byte) {
		answer = data
		c, err := b.VerifyDialin(t.Context(), "1", "1234567")
		switch {
		case err != nil && strings.Contains(err.Error(), "1234567"):
			t.Error(err)
		case err == nil && (c.Room.Token != "1" || c.ActorID == "" || c.ActorType == "" || len(c.ActorID) > maxID || len(c.Name) > 3*maxName):
			t.Errorf("%+v", c)
		}
	})
}

// answers is a Nextcloud that answers all with 200.
type answers func() []byte

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(a()))}, nil
}
