package talk

import (
	"encoding/json"
	"log/slog"
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
