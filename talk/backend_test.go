package talk_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

func TestChecksums(t *testing.T) {
	for _, c := range []struct {
		secret, want string
		signed       []string
	}{
		{"the-shared-secret-for-internal-clients", "3169f650a52079a9efe77cc6f9af23f56cb9b53258348ae83b3e69849c78b805",
			[]string{"0123456789abcdef0123456789abcdef"}},
		{"MySecretValue", "3c4a69ff328299803ac2879614b707c807b4758cf19450755c60656cac46e3bc",
			[]string{"afb6b872ab03e3376b31bf0af601067222ff7990335ca02d327071b73c0119c6",
				`{"type":"auth","auth":{"version":"1.0","params":{"hello":"world"}}}`}},
		{"sip-bridge-shared-secret", "c4afe8bbd21221ee762ca429854af8e90a81227d91579a46c0c5c5f970a0f3ab",
			[]string{"0123456789abcdef0123456789abcdef", "4271953862"}},
	} {
		if got := talk.Checksum(c.secret, c.signed...); got != c.want {
			t.Errorf("%s: %s", c.secret, got)
		}
	}
}

// verified asks Nextcloud about a dial-out that it asked for itself.
func verified(r *rig, change func(*talk.Request)) (talk.Participant, error) {
	dialWait(r.t, func() (string, error) {
		return r.lab.Cloud.Dialout(token, "+493055500200", talktest.Options(101, "caller", `"+493012345"`, "unknown", `{"b":1,"a":[2]}`))
	})
	defer func(q *talk.Request) { _ = q.Refuse("x", "x") }(r.last())
	q := *r.last()
	if change != nil {
		change(&q)
	}
	return r.session.Backend().VerifyDialout(q.Context(), q.RoomID, q.Number, q.Options)
}

func TestNextcloudVerifiesDialout(t *testing.T) {
	manual := func(r *rig, _ *talk.Config) { r.auto = false }
	t.Run("right", func(t *testing.T) {
		bubble(t, func(r *rig) {
			p, err := verified(r, nil)
			if err != nil || p != (talk.Participant{Token: token, AttendeeID: 101, ActorType: "phones", ActorID: "actor-101",
				DisplayName: "Phone"}) {
				t.Errorf("%+v, %v", p, err)
			}
			if body := r.lab.Cloud.LastBody(); !strings.Contains(body, talktest.Options(101, "caller", `"+493012345"`, "unknown",
				`{"b":1,"a":[2]}`)) {
				t.Errorf("the options were changed: %s", body)
			}
		}, manual)
	})
	for name, change := range map[string]func(*talk.Request){
		"another number":   func(q *talk.Request) { q.Number = "+4930666" },
		"another room":     func(q *talk.Request) { q.RoomID = "7" },
		"no room":          func(q *talk.Request) { q.RoomID = "../../x" },
		"another attendee": func(q *talk.Request) { q.Options.AttendeeID = 9 },
		"another actor":    func(q *talk.Request) { q.Options.ActorID = "mallory" },
		"no options":       func(q *talk.Request) { q.Options.Raw = nil },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				p, err := verified(r, change)
				if err == nil {
					t.Errorf("verified: %+v", p)
				}
				if asked := len(r.lab.Cloud.Requests()); name == "no room" && asked != 0 {
					t.Errorf("asked %d times about %v", asked, err)
				}
			}, manual)
		})
	}
	for _, answer := range []string{`{"token":"7","attendeeId":101,"actorType":"phones","actorId":"actor-101"}`,
		`{"token":"` + token + `","attendeeId":102,"actorType":"phones","actorId":"actor-101"}`,
		`{"token":"` + token + `","attendeeId":101,"actorType":"phones","actorId":"x"}`,
		`{"token":"` + token + `","attendeeId":101,"actorType":"users","actorId":"actor-101"}`,
		`{}`, `[]`, `"x"`, `null`, `{"token":5}`, `"` + strings.Repeat("x", 65<<10) + `"`, `{`} {
		bubble(t, func(r *rig) {
			r.lab.Cloud.VerifyAnswer = answer
			if p, err := verified(r, nil); err == nil {
				t.Errorf("%.60s: verified: %+v", answer, p)
			}
		}, manual)
	}
	for _, code := range []int{302, 400, 401, 404, 429, 500, 501} {
		bubble(t, func(r *rig) {
			r.lab.Cloud.VerifyStatus = code
			_, err := verified(r, nil)
			var refused *talk.BackendError
			if !errors.As(err, &refused) || refused.Code != code {
				t.Errorf("%d: %v", code, err)
			}
			if n := len(r.lab.Cloud.Requests()); n != 1 {
				t.Errorf("%d: asked %d times", code, n)
			}
		}, manual)
	}
	t.Run("wrong secret", func(t *testing.T) {
		bubble(t, func(r *rig) {
			_, err := verified(r, nil)
			if err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "sip-secret") ||
				strings.Contains(err.Error(), "guess") {
				t.Error(err)
			}
		}, manual, func(_ *rig, c *talk.Config) { c.Servers[0].Backends[0].SIPSecret = "guess" })
	})
	t.Run("slow", func(t *testing.T) {
		bubble(t, func(r *rig) {
			r.lab.Cloud.VerifyDelay = time.Minute
			from := time.Now()
			_, err := verified(r, nil)
			if took := time.Since(from); err == nil || took != talk.VerifyTime || !strings.Contains(err.Error(), "no answer within 8s") {
				t.Errorf("after %v: %v", took, err)
			}
		}, manual)
	})
}

func TestNextcloudIsToldOfRejectedDialout(t *testing.T) {
	options := talk.Options{AttendeeID: 101, Raw: []byte(talktest.Options(101))}
	for name, c := range map[string]struct {
		change   func(*talktest.Cloud)
		ok       bool
		requests int
	}{
		"at once":           {func(*talktest.Cloud) {}, true, 1},
		"not noted yet":     {func(c *talktest.Cloud) { c.NoteDelay = time.Second }, true, 4},
		"never noted":       {func(c *talktest.Cloud) { c.NoteDelay = time.Hour }, false, 6},
		"wrong secret":      {func(c *talktest.Cloud) { c.RejectStatus = 401 }, false, 1},
		"no such room":      {func(c *talktest.Cloud) { c.RejectStatus = 404 }, false, 1},
		"not enabled":       {func(c *talktest.Cloud) { c.RejectStatus = 501 }, false, 1},
		"something is down": {func(c *talktest.Cloud) { c.RejectStatus = 503 }, false, 6},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				c.change(r.lab.Cloud)
				id := r.call(101)
				r.status(id, talk.Rejected)
				n := len(r.lab.Cloud.Requests())
				err := r.session.Backend().RejectDialout(context.Background(), token, id, options)
				if (err == nil) != c.ok || len(r.lab.Cloud.Requests())-n != c.requests {
					t.Errorf("%v after %d requests", err, len(r.lab.Cloud.Requests())-n)
				}
				if got := r.lab.Cloud.Rejected(); (len(got) == 1 && got[0] == id) != c.ok {
					t.Errorf("rejected %q", got)
				}
			})
		})
	}
}

// An address that leads elsewhere is not followed, neither with the checksum
// nor by WebSocket.
func TestRedirectionsAreNotFollowed(t *testing.T) {
	followed := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	found := talk.Probe(t.Context(),
		talk.Config{Servers: []talk.Server{{URL: server.URL, Secret: "s", Backends: []talk.BackendConfig{{URL: server.URL, SIPSecret: "s"}}}}})
	if len(found) != 1 || !errors.Is(found[0].Err, talk.ErrNotSignaling) || followed {
		t.Errorf("%+v, followed: %v", found, followed)
	}
	client, err := talk.New(talk.Config{Servers: []talk.Server{{URL: server.URL, Secret: "s",
		Backends: []talk.BackendConfig{{URL: server.URL, SIPSecret: "s"}}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sessions()[0].Backend().VerifyDialout(t.Context(), token, "+4930", talk.Options{}); err == nil ||
		!strings.Contains(err.Error(), "redirects") || followed {
		t.Errorf("%v, followed: %v", err, followed)
	}
}

func TestConfigurationSaysWhatIsWrong(t *testing.T) {
	good := func() talk.Config {
		return talk.Config{Servers: []talk.Server{{URL: "https://s.example", Secret: "s",
			Backends: []talk.BackendConfig{{URL: "https://c.example/nc", SIPSecret: "x"}}}}}
	}
	if err := good().Check(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		want   string
		change func(*talk.Config)
	}{
		{"servers:", func(c *talk.Config) { c.Servers = nil }},
		{"servers[0].url:", func(c *talk.Config) { c.Servers[0].URL = "" }},
		{"servers[0].url: must begin", func(c *talk.Config) { c.Servers[0].URL = "ftp://x" }},
		{"servers[0].url: must not hold a user", func(c *talk.Config) { c.Servers[0].URL = "https://u:secret@x" }},
		{"servers[0].url:", func(c *talk.Config) { c.Servers[0].URL = "https://x?y" }},
		{"servers[0].secret:", func(c *talk.Config) { c.Servers[0].Secret = "" }},
		{"servers[0].backends:", func(c *talk.Config) { c.Servers[0].Backends = nil }},
		{"servers[0].backends[0].url: must begin", func(c *talk.Config) { c.Servers[0].Backends[0].URL = "ws://x" }},
		{"servers[0].backends[0].url:", func(c *talk.Config) { c.Servers[0].Backends[0].URL = "https://x/#y" }},
		{"servers[0].backends[0].url:", func(c *talk.Config) { c.Servers[0].Backends[0].URL = "x:%zzsecret" }},
		{"servers[0].backends[0].sip-secret:", func(c *talk.Config) { c.Servers[0].Backends[0].SIPSecret = "" }},
		{"servers[0].backends[1].url: named twice", func(c *talk.Config) {
			c.Servers[0].Backends = append(c.Servers[0].Backends, talk.BackendConfig{URL: "https://c.example/nc/", SIPSecret: "y"})
		}},
	} {
		cfg := good()
		c.change(&cfg)
		err := cfg.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "u:secret") ||
			strings.Contains(err.Error(), "zzsecret") {
			t.Errorf("want %q, got %v", c.want, err)
		}
		if _, err := talk.New(cfg, nil); err == nil {
			t.Errorf("%s: made", c.want)
		}
	}
}

func TestAddressesOfSignalingServers(t *testing.T) {
	for given, want := range map[string]string{
		"https://s.example": "https://s.example/spreed", "wss://s.example/": "https://s.example/spreed",
		"ws://s.example:8080/spreed":              "http://s.example:8080/spreed",
		"https://s.example/standalone-signaling/": "https://s.example/standalone-signaling/spreed",
		"http://s.example/x/spreed/":              "http://s.example/x/spreed",
	} {
		client, err := talk.New(talk.Config{Servers: []talk.Server{{URL: given, Secret: "s",
			Backends: []talk.BackendConfig{{URL: "https://c.example", SIPSecret: "x"}}}}}, nil)
		if err != nil {
			t.Error(given, err)
			continue
		}
		if s := client.Sessions()[0]; s.Server() != want || s.Backend().URL() != "https://c.example/" {
			t.Errorf("%s: %s %s", given, s.Server(), s.Backend().URL())
		}
	}
}
