package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
)

// inTime fails the test if do does not return.
func inTime(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		t.Fatal(what)
	}
}

// A disk that does not answer while the files are read again keeps no signal
// waiting: the phone is hung up, and the service ends in order.
func TestSIGTERMIsHeardWhileAReloadHangs(t *testing.T) {
	p, addr := apptest.Phone(t, siptest.Script{NeverAnswer: true})
	cfg := testConfig(t, addr)
	reading, disk := make(chan struct{}, 10), make(chan struct{})
	cfg.Again = func() (config.Config, error) {
		reading <- struct{}{}
		<-disk
		return cfg, nil
	}
	s := start(t, cfg)
	defer close(disk)
	if resp := s.do("POST", s.Addrs()[1]+apptest.CallPath); resp.StatusCode != 200 {
		t.Fatalf("POST: %s", resp.Status)
	}
	for range 3 {
		inTime(t, "SIGHUP is not heard", func() { s.signals <- syscall.SIGHUP })
	}
	<-reading
	for range 2 {
		inTime(t, "SIGTERM is not heard", func() { s.signals <- syscall.SIGTERM })
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if !p.OnHook() {
		t.Errorf("the phone is left ringing: %v", p.Log())
	}
	s.log.WaitFor(t, "sipxrest has ended")
	if n := len(reading); n != 0 {
		t.Errorf("%d reloads run beside the first", n)
	}
}

// Files may change while they are read: what is asked for meanwhile is done
// afterwards, once.
func TestReloadsThatAreAskedForMeanwhileAreOneMore(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	reading, disk := make(chan struct{}, 10), make(chan struct{})
	cfg.Again = func() (config.Config, error) {
		reading <- struct{}{}
		<-disk
		return cfg, nil
	}
	s := start(t, cfg)
	first := s.startReload()
	<-reading
	second, third := s.startReload(), s.startReload()
	close(disk)
	<-first.done
	<-third.done
	if second != third || first == second || len(reading) != 1 || second.err != nil {
		t.Errorf("%d more, %v", len(reading), second.err)
	}
}

func TestSIGTERMIsHeardWhileTheServiceStarts(t *testing.T) {
	signals, disk, opened := make(chan os.Signal), make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- serve(func() (*App, error) { defer close(opened); <-disk; return nil, context.Canceled }, signals)
	}()
	inTime(t, "SIGHUP is not heard", func() { signals <- syscall.SIGHUP })
	inTime(t, "SIGTERM is not heard", func() { signals <- syscall.SIGTERM })
	inTime(t, "it does not end", func() {
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "before it served") {
			t.Error(err)
		}
	})
	close(disk)
	<-opened
}

func TestThePartsThatReadFilesDoNotKeepTheServiceFromEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := make(chan struct{})
		p := newParts()
		p.start(feature{name: "users", reads: true, run: func(context.Context) error { <-disk; return nil }})
		p.start(feature{name: "certificates", reads: true, run: func(context.Context) error { <-disk; return nil }})
		p.start(feature{name: "rules", reads: true, run: func(ctx context.Context) error { <-ctx.Done(); return nil }})
		synctest.Wait()
		began := time.Now()
		p.end()
		if took := time.Since(began); took > fileWait {
			t.Errorf("it ends after %v", took)
		}
		close(disk)
	})
}

// reloading is a service on a configuration file that tests rewrite.
func reloading(t *testing.T, more string) (s *service, rewrite func(text string)) {
	t.Helper()
	_, addr := apptest.Phone(t, siptest.Script{})
	dir := t.TempDir()
	base := apptest.Minimal + `
data-dir: data
http: [{listen: "127.0.0.1:0", auth: trusted}, {listen: "127.0.0.1:0", auth: pin}]
trusted: [127.0.0.1]
`
	sip := "sip: {listen: ['udp:127.0.0.1:0'], outbound-proxy: ['sip:" + addr + "']}\n"
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	for _, folder := range []string{"rules", "others"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rewrite = func(text string) {
		if !strings.Contains(text, "sip:") {
			text += sip
		}
		apptest.Write(t, dir, "sipxrest.yaml", base+text)
	}
	rewrite(more)
	cfg, err := config.Load(config.Source{File: filepath.Join(dir, "sipxrest.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	return start(t, cfg), rewrite
}

func TestTheLogNamesTheKeysThatWaitForARestart(t *testing.T) {
	const rules = "dispatch: {rules: [{id: a, action: hangup}]%s}\n"
	plain := strings.Replace(rules, "%s", "", 1)
	s, rewrite := reloading(t, plain)
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", plain, nil},
		{"a default written out", plain + "drain: 30s\ncall: {timeout: 180s}\n", nil},
		{"what is taken at once", strings.Replace(rules, "%s", ", agent: \"201\"", 1) + "policy: no-premium\ndial: {country: DE}\nphone: " +
			"{calls: false}\n", nil},
		{"others", plain + "realm: other\ndrain: 5s\nlimits: {calls: 7}\nphone: {enabled: true, plain-http: true}\n",
			[]string{"realm", "limits.calls", "drain", "phone.enabled", "phone.plain-http"}},
		{"in lists", plain + "allowed-origins: [https://a.test]\nsip: {listen: ['tcp:127.0.0.1:0']}\n",
			[]string{"sip.listen", "sip.outbound-proxy", "allowed-origins"}},
		{"a trunk that needs the domain's proxies", strings.Replace(rules, "%s", ", trunks: [{name: a, sources: [domain]}]", 1),
			[]string{"dispatch.trunks (sources: domain)"}},
	} {
		rewrite(tt.text)
		r := s.startReload()
		<-r.done
		if r.err != nil || !slices.Equal(r.waiting, tt.want) {
			t.Errorf("%s: waiting %q, want %q; %v", tt.name, r.waiting, tt.want, r.err)
		}
	}
	rewrite(plain + "drain: 5s\n")
	if err := s.Reload(); err != nil {
		t.Error(err)
	}
	s.log.WaitFor(t, `msg="changed keys wait for a restart" keys=[drain]`)
}

// What waits for a restart does not come in by another key.
func TestAChangedDomainDoesNotCountBeforeTheRestart(t *testing.T) {
	s, rewrite := reloading(t, "policy: local-only\n")
	elsewhere := func() error { return s.dialling.allowCall("201", "sip:202@other.test") }
	if elsewhere() == nil {
		t.Fatal("202@other.test is internal")
	}
	base, err := os.ReadFile(s.cfg.Sources()[0])
	if err != nil {
		t.Fatal(err)
	}
	rewrite("policy: local-only\n")
	apptest.Write(t, filepath.Dir(s.cfg.Sources()[0]), "sipxrest.yaml", strings.Replace(string(base), "sipx.test", "other.test", 1))
	r := s.startReload()
	if <-r.done; r.err != nil || !slices.Equal(r.waiting, []string{"domain", "realm"}) {
		t.Errorf("waiting %q, %v", r.waiting, r.err)
	}
	if elsewhere() == nil {
		t.Error("202@other.test is internal, though the domain is still the old one")
	}
}

func TestAKeyThatOpensASectionWaitsForARestart(t *testing.T) {
	s, rewrite := reloading(t, "")
	rewrite("dispatch: {rules: [{id: a, action: hangup}]}\n")
	r := s.startReload()
	if <-r.done; !slices.Equal(r.waiting, []string{"dispatch.rules"}) {
		t.Errorf("waiting %q, %v", r.waiting, r.err)
	}
}

func TestAnotherFolderOfRulesIsWatched(t *testing.T) {
	s, rewrite := reloading(t, "dispatch: {rules: [{id: a, action: hangup}]}\n")
	dir := filepath.Dir(s.cfg.Sources()[0])
	rule := func(folder, name, id string) {
		apptest.Write(t, filepath.Join(dir, folder), name, "{id: "+id+", numbers: [\""+id+"\"], action: hangup}")
	}
	rule("rules", "a.yaml", "5001")
	rewrite("dispatch: {rules-dir: rules, rules: [{id: a, action: hangup}]}\n")
	if err := s.Reload(); err != nil || s.dispatch.Rules() != 2 {
		t.Fatalf("%d rules, %v", s.dispatch.Rules(), err)
	}
	rule("rules", "b.yaml", "5002")
	s.log.WaitFor(t, `msg="dispatch rules reloaded" rules=3`)
	rewrite("dispatch: {rules-dir: others, rules: [{id: a, action: hangup}]}\n")
	if err := s.Reload(); err != nil || s.dispatch.Rules() != 1 {
		t.Fatalf("%d rules, %v", s.dispatch.Rules(), err)
	}
	rule("others", "a.yaml", "5001")
	s.log.WaitFor(t, `msg="dispatch rules reloaded" rules=2`)
}

func TestAStatusIsNeverTooLongForSystemd(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	a, err := New(testConfig(t, addr), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	r := &reload{err: &os.PathError{Op: "open", Path: strings.Repeat("ä\n", 5000), Err: syscall.EIO}}
	if text := a.status(r); len(text) > 2*maxStatus || strings.ContainsRune(text, '\n') || !strings.HasPrefix(text, "The reload failed") {
		t.Errorf("%d bytes: %.200q", len(text), text)
	}
}

// What ends needs what started before it: that runs on until then.
func TestPartsEndInTheReverseOfTheirStart(t *testing.T) {
	a := &App{}
	var ended []string
	for _, f := range []feature{{name: "SIP", stage: stageSIP}, {name: "users"}, {name: "HTTP", stage: stageListeners}, {name: "DNS"},
		{name: "webhooks", stage: stageWebhooks}} {
		f.run = func(ctx context.Context) error { <-ctx.Done(); ended = append(ended, f.name); return nil }
		f.stop = func() { ended = append(ended, "stop "+f.name) }
		a.add(f)
	}
	p := newParts()
	for _, f := range a.features {
		p.start(f)
	}
	p.end()
	if got, want := strings.Join(ended, ", "),
		"stop SIP, SIP, stop webhooks, webhooks, stop HTTP, HTTP, stop DNS, DNS, stop users, users"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
