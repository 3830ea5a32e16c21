package talk_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

func TestProbeSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*talktest.Lab, *talk.Config)
		want   string // "" if all is well
	}{
		"nothing": {func(*talktest.Lab, *talk.Config) {}, ""},
		"secret": {func(_ *talktest.Lab, c *talk.Config) {
			c.Servers[0].Secret = "guess"
		}, "the secret is wrong: it must be internalsecret"},
		"backend": {func(_ *talktest.Lab, c *talk.Config) { c.Servers[0].Backends[0].URL = "http://cloud.example/" },
			"the backend's url must be as in its [backend] section"},
		"longer backend": {func(_ *talktest.Lab, c *talk.Config) { c.Servers[0].Backends[0].URL += "index.php" }, "not that of a Nextcloud"},
		"old server": {func(l *talktest.Lab, _ *talk.Config) {
			l.Features = []string{"welcome"}
		}, "has no dialout and no virtual-sessions: it is too old"},
		"not signaling": {func(l *talktest.Lab, _ *talk.Config) { l.NotFound = true }, "there is no signaling server at that address"},
		"nobody there":  {func(_ *talktest.Lab, c *talk.Config) { c.Servers[0].URL = "http://nobody.example" }, "cannot be reached"},
		"no nextcloud":  {func(l *talktest.Lab, _ *talk.Config) { l.Cloud.Listen("http://moved.example/") }, "the backend's url must be as"},
		"says nothing":  {func(l *talktest.Lab, _ *talk.Config) { l.Cut = func(bool, []byte) bool { return true } }, "ended before the welcome"},
		"silent after hello": {func(l *talktest.Lab, _ *talk.Config) {
			l.Cut = func(sent bool, m []byte) bool { return strings.Contains(string(m), "hello\":") }
		}, "ended before hello was answered"},
		"too many wrong hello": {func(l *talktest.Lab, c *talk.Config) { l.OnFault = func(talktest.Fault) {}; l.Wrong(10) }, "wait half an hour"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := talktest.New(t)
				cfg := config(lab)
				c.change(lab, &cfg)
				found := talk.Probe(t.Context(), cfg)
				if len(found) != 1 {
					t.Fatalf("%+v", found)
				}
				p := found[0]
				if c.want == "" && (p.Err != nil || p.Version != "2.1.1~lab" || p.Backend != talktest.CloudURL || p.Server != talktest.URL+"/spreed") ||
					c.want != "" && (p.Err == nil || !strings.Contains(p.Err.Error(), c.want)) {
					t.Errorf("%+v, want %q", p, c.want)
				}
				if p.Err != nil && strings.Contains(p.Err.Error(), "guess") {
					t.Error("the secret is told:", p.Err)
				}
				for _, m := range lab.Messages() {
					if strings.Contains(m, "start-dialout") {
						t.Error("the probe could be asked to call:", m)
					}
				}
				synctest.Wait()
				if n := lab.Sessions(); n != 0 && c.want == "" {
					t.Errorf("%d sessions are left", n)
				}
				lab.Close()
			})
		})
	}
}

func TestProbeOverTLS(t *testing.T) {
	lab := talktest.New(t)
	server := httptest.NewTLSServer(lab)
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	lab.Cloud.Listen(server.URL + "/nextcloud/")
	probe := func(url string, secure *tls.Config) error {
		return talk.Probe(t.Context(), talk.Config{TLS: secure, Servers: []talk.Server{{URL: url, Secret: talktest.Secret,
			Backends: []talk.BackendConfig{{URL: lab.Cloud.URL, SIPSecret: talktest.SIPSecret}}}}})[0].Err
	}
	authorities := x509.NewCertPool()
	authorities.AddCert(server.Certificate())
	if err := probe(server.URL, &tls.Config{RootCAs: authorities}); err != nil {
		t.Error(err)
	}
	if err := probe(server.URL, nil); err == nil || !strings.Contains(err.Error(), "authority that is not known") {
		t.Error(err)
	}
	if err := probe(server.URL, &tls.Config{RootCAs: authorities, ServerName: "other.test"}); err == nil || !strings.Contains(err.Error(),
		"for another name") {
		t.Error(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	if err := probe(strings.Replace(plain.URL, "http:", "https:", 1), nil); err == nil || !strings.Contains(err.Error(),
		"does not speak TLS") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found := talk.Probe(ctx, config(lab)); found[0].Err == nil {
		t.Error("a probe that was given up found nothing wrong")
	}
}

func TestProbeSaysWhyPhonesAreNotHeard(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*talktest.Lab)
		want   string // "" if they are
	}{
		"nothing": {func(*talktest.Lab) {}, ""},
		"too old": {func(l *talktest.Lab) { l.Features = []string{"dialout", "virtual-sessions", "mcu"} },
			"the signaling server (2.1.1~lab) is too old for audio: it lacks offer-codecs (2.0.2)"},
		"no media server": {func(l *talktest.Lab) { l.Features = []string{"dialout", "virtual-sessions", "offer-codecs"} },
			"the signaling server (2.1.1~lab) has no media server (mcu): set type = janus in [mcu] of its configuration"},
		"encrypted": {func(l *talktest.Lab) { l.Cloud.Encrypted = true },
			"Talk encrypts calls end to end: telephones cannot take part in them"},
		"both": {func(l *talktest.Lab) {
			l.Cloud.Encrypted, l.Features = true, []string{"dialout", "virtual-sessions", "mcu"}
		},
			"the signaling server (2.1.1~lab) is too old for audio: it lacks offer-codecs (2.0.2)\nTalk encrypts calls end to end: " +
				"telephones cannot take part in them"},
		"a Nextcloud that says nothing of itself": {func(l *talktest.Lab) { l.Cloud.NoCapabilities = true }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := talktest.New(t)
				c.change(lab)
				p := talk.Probe(t.Context(), config(lab))[0]
				if p.Err != nil || (p.Audio == nil) != (c.want == "") || p.Audio != nil && p.Audio.Error() != c.want {
					t.Errorf("%+v, want %q", p, c.want)
				}
				if p.DirectDialin == lab.Cloud.NoCapabilities {
					t.Errorf("direct dial-in %v", p.DirectDialin)
				}
				lab.Close()
			})
		})
	}
}

// A connection to a server that cannot do it is warned of, once, where phones are to
// be heard.
func TestASessionSaysWhyPhonesAreNotHeard(t *testing.T) {
	for _, c := range []struct{ needed, able bool }{{true, false}, {true, true}, {false, false}} {
		synctest.Test(t, func(t *testing.T) {
			lab := talktest.New(t)
			if !c.able {
				lab.Features = []string{"dialout", "virtual-sessions"}
			}
			text := &strings.Builder{}
			cfg := config(lab)
			cfg.Audio = c.needed
			client, err := talk.New(cfg, slog.New(slog.NewTextHandler(text, nil)))
			if err != nil {
				t.Fatal(err)
			}
			session := client.Sessions()[0]
			if err := session.Audio(); !errors.Is(err, talk.ErrAway) {
				t.Errorf("before there is a connection: %v", err)
			}
			serve(t, client, func() {
				var why *talk.AudioError
				if err := session.Audio(); (err == nil) != c.able || err != nil && !errors.As(err, &why) {
					t.Errorf("audio: %v", err)
				}
				lab.Drop()
				sleep(time.Second)
				if err := session.Audio(); (err == nil) != c.able {
					t.Errorf("audio, after another connection: %v", err)
				}
			})
			want := 0
			if c.needed && !c.able {
				want = 2 // connections
			}
			if n := strings.Count(text.String(), "has no media server"); n != want {
				t.Errorf("%d warnings\n%s", n, text)
			}
			lab.Close()
		})
	}
}
