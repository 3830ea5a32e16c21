package check

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/sipflow/siptest"
)

// bindAnyPort says whether there is such an address: the configured ports are
// others' to hold while the tests run.
func bindAnyPort(network, address string) (io.Closer, error) {
	host, _, _ := net.SplitHostPort(address)
	return bind(network, net.JoinHostPort(host, "0"))
}

// checked answers what a check of the configuration file prints. Everything
// that may take time is short.
func checked(t *testing.T, file string) (ok bool, out string) {
	t.Helper()
	var b strings.Builder
	c := &checker{ctx: t.Context(), out: &b, wait: 200 * time.Millisecond, bind: bindAnyPort}
	ok = c.run(config.Source{File: file})
	return ok, b.String()
}

func wants(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

func TestCheckFindsNothingWrongWithAServiceThatCanWork(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
data-dir: data
sip: {listen: [udp:127.0.0.1:6050], outbound-proxy: [sip:%s]}
trusted: [10.0.0.0/8]
`, proxy))
	ok, out := checked(t, file)
	wants(t, out, "ok configuration domain sipx.test", "ok users 1 user in", "ok listener 1 :6666: a self-signed certificate will be made",
		"ok proxy sip:"+proxy+": udp:"+proxy+" answers OPTIONS with 200 OK", "ok trusted no PIN is asked of 10.0.0.0/8", "No problem found.")
	if !ok {
		t.Error("it says that there are problems")
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("check made the data directory")
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	_, failing := apptest.Phone(t, siptest.Script{Answers: map[sip.RequestMethod]int{sip.OPTIONS: 503}})
	_, mute := apptest.Phone(t, siptest.Script{Answers: map[sip.RequestMethod]int{sip.OPTIONS: -1}})
	dns := apptest.NameServer(t)
	expired, key, err := web.MakeSelfSigned(nil, time.Now().Add(-10*365*24*time.Hour-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	soon, soonKey, err := web.MakeSelfSigned(nil, time.Now().Add(-10*365*24*time.Hour+48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", "- {usr: x}")
	apptest.Write(t, dir, "none.yaml", "[]")
	apptest.Write(t, dir, "old.crt", string(expired))
	apptest.Write(t, dir, "old.key", string(key))
	apptest.Write(t, dir, "soon.crt", string(soon))
	apptest.Write(t, dir, "soon.key", string(soonKey))
	file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
sip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:%s, sip:%s, sip:nowhere.test]}
dns: {servers: ["%s"]}
http:
- {listen: ":1", tls: {cert: old.crt, key: old.key, min-version: "1.0"}}
- {listen: ":2", tls: {cert: soon.crt, key: soon.key}}
- {listen: ":3", tls: {cert: no.crt, key: no.key}}
- {listen: ":4", tls: {}}
data-dir: users.yaml/data
trusted: [0.0.0.0/0]
allow-pinless: true
`, failing, mute, dns))
	ok, out := checked(t, file)
	if ok {
		t.Error("it finds no problem")
	}
	wants(t, out,
		"problem users "+file+":2: "+dir+"/users.yaml:1",
		"problem listener 1 :1: certificate "+dir+"/old.crt has expired on",
		"note listener 2 :2: certificate "+dir+"/soon.crt expires on",
		"problem listener 3 "+file+":6: http: certificate "+dir+"/no.crt",
		"problem data-dir "+file+":11: data-dir: "+dir+"/users.yaml cannot be written to",
		"problem proxy sip:"+failing+": udp:"+failing+" answers OPTIONS with 503",
		"problem proxy sip:"+mute+": udp:"+mute+" does not answer OPTIONS within",
		"problem DNS "+file+":4: sip.outbound-proxy: ",
		"tls.min-version: TLS before 1.2 is not safe",
		"0.0.0.0/0 lets everybody call",
		"allow-pinless: everybody can call",
		"certificate "+dir+"/old.crt is for no name, but the common name", "7 problems, 2 warnings.")

	file = apptest.Write(t, dir, "other.yaml",
		fmt.Sprintf("domain: nowhere.test\nusers: [none.yaml]\nsip: {listen: [udp:127.0.0.1:0]}\ndns: {servers: [%q]}\n", dns))
	_, out = checked(t, file)
	wants(t, out, "problem users "+file+":2: users: there are no users", "the proxies of the domain cannot be found: correct domain, set "+
		"sip.outbound-proxy, or add SRV records",
		"note trusted domain:", "ok trusted nobody: every caller needs a PIN")
}

func TestCheckTriesTheAddresses(t *testing.T) {
	dir := t.TempDir()
	users := apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	if err := os.Chmod(users, 0o644); err != nil {
		t.Fatal(err)
	}
	file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+`
sip: {listen: ["udp:192.0.2.222:6050"]}
http:
- {listen: "192.0.2.222:6666"}
- {listen: ":6667"}
trusted: []
`)
	_, out := checked(t, file)
	wants(t, out,
		"ok configuration domain sipx.test, realm sipx.test, from "+file,
		"note users everybody on this machine can read the secrets in "+users,
		"problem listener 1 "+file+":5: http: listen tcp 192.0.2.222:0: bind: cannot assign requested address: this machine has",
		"ok listener 2 :6667: plain HTTP, auth pin",
		"problem SIP "+file+":4: sip.listen: listen udp 192.0.2.222:0: bind: cannot assign requested address: this machine has",
		"2 problems.")
}

func TestCheckOfSomethingElseIsShort(t *testing.T) {
	dir := t.TempDir()
	_, out := checked(t, apptest.Write(t, dir, "passwd", strings.Repeat("a: b\n", 3)+"\tc"))
	wants(t, out, "indent with spaces, YAML takes no tabs", "1 problem.")
	var text strings.Builder
	for i := range 25 {
		fmt.Fprintf(&text, "x%dy: 1\n", i)
	}
	_, out = checked(t, apptest.Write(t, dir, "other", text.String()))
	wants(t, out, "/other: 15 more faults: is it a configuration?", "11 problems.")
}

func TestCheckNamesUsersWhoCannotCall(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	dir := t.TempDir()
	config := apptest.Minimal + fmt.Sprintf("sip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:%s]}\ntrusted: []\n", proxy)
	file := apptest.Write(t, dir, "sipxrest.yaml", config)
	const one = "- {user: \"201\", pin: \"1\", sip-password: x}\n"

	apptest.Write(t, dir, "users.yaml", one)
	if _, out := checked(t, file); strings.Contains(out, "without") {
		t.Errorf("it finds fault with a user who has everything:\n%s", out)
	}

	apptest.Write(t, dir, "users.yaml", one+"- {user: \"202\", sip-password: x}\n- {user: \"203\", pin: \"1\"}\n")
	ok, out := checked(t, file)
	wants(t, out, "note users 1 user without a PIN, in whose name only trusted peers can call: 202",
		"note users 1 user without a SIP password, whose calls fail where the proxy asks for one: 203")
	if !ok {
		t.Error("a user without a PIN can be meant: it is no problem")
	}

	var many strings.Builder
	for i := range 7 {
		fmt.Fprintf(&many, "- {user: a%d, sip-password: x}\n", i)
	}
	apptest.Write(t, dir, "users.yaml", many.String())
	apptest.Write(t, dir, "sipxrest.yaml", config+"allow-pinless: true\n")
	_, out = checked(t, file)
	wants(t, out, "7 users without a PIN, in whose name everybody can call (allow-pinless): a0, a1, a2, a3, a4 and 2 more")
}

func TestCheckOfNoConfigurationSaysHowToWriteOne(t *testing.T) {
	t.Chdir(t.TempDir())
	ok, out := checked(t, "")
	if ok || !strings.Contains(out, "sipxrest serve --example-config > sipxrest.yaml") || !strings.Contains(out, "1 problem.") {
		t.Errorf("ok %v:\n%s", ok, out)
	}
}

// One server that serves is enough for calls: what others lack is a warning, and
// no reason for whoever waits for the exit status to give up.
func TestCheckIsContentWithOneProxyOfSeveral(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	_, mute := apptest.Phone(t, siptest.Script{Answers: map[sip.RequestMethod]int{sip.OPTIONS: -1}})
	_, failing := apptest.Phone(t, siptest.Script{Answers: map[sip.RequestMethod]int{sip.OPTIONS: 503}})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	config := apptest.Minimal + "trusted: []\nsip: {listen: [udp:127.0.0.1:0], outbound-proxy: [%s]}\n"
	file := apptest.Write(t, dir, "sipxrest.yaml", fmt.Sprintf(config, "sip:"+mute+", sip:"+proxy+", sip:"+failing))
	ok, out := checked(t, file)
	wants(t, out, "warning proxy sip:"+mute+": udp:"+mute+" does not answer OPTIONS within", "calls go to the others",
		"ok proxy sip:"+proxy, "warning proxy sip:"+failing, "No problem found, 2 warnings.")
	if !ok {
		t.Error("it says that there are problems")
	}
	file = apptest.Write(t, dir, "sipxrest.yaml", fmt.Sprintf(config, "sip:"+mute+", sip:"+failing))
	ok, out = checked(t, file)
	wants(t, out, "problem proxy sip:"+mute, "problem proxy sip:"+failing, "2 problems.")
	if ok {
		t.Error("no proxy serves, and it finds no problem")
	}
}

func TestCheckAsksTheReceiverOfTraces(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	asked := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked <- fmt.Sprint(r.Method, " ", r.URL.Path, " ", len(body))
		if r.URL.Path == "/refuses" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer receiver.Close()
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	for endpoint, want := range map[string]string{
		receiver.URL:              "ok trace " + receiver.URL + " takes traces",
		receiver.URL + "/refuses": "does not take traces, which are lost; calls go on: ",
		"http://127.0.0.1:1":      "connection refused",
		"":                        "",
	} {
		ok, out := checked(t, apptest.Write(t, dir, "sipxrest.yaml",
			apptest.Minimal+fmt.Sprintf("trusted: []\nsip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:%s]}\ntrace: {endpoint: %q}\n", proxy,
				endpoint)))
		wants(t, out, want)
		if !ok {
			t.Errorf("%s: without traces calls go on, and it says that there are problems:\n%s", endpoint, out)
		}
		if bad := endpoint != "" && endpoint != receiver.URL; strings.Contains(out, "1 warning") != bad ||
			endpoint == "" && strings.Contains(out, "trace") {
			t.Errorf("%s:\n%s", endpoint, out)
		}
	}
	if got := <-asked; !strings.HasSuffix(got, " 0") || !strings.HasPrefix(got, "POST /") {
		t.Errorf("the receiver was sent %s", got)
	}
}

func TestCheckTellsOfTheGatewayToSIPPhones(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
data-dir: data
sip: {listen: [udp:127.0.0.1:6050], outbound-proxy: [sip:%s]}
phone: {enabled: true, sip: {enabled: true, rtp-ports: 24000-24099, srtp: required}}
`, proxy))
	_, out := checked(t, file)
	wants(t, out, "note phone served on the listeners of http; there are no users in "+filepath.Join(dir, "data/phone.db")+
		" yet: sipxrest phone user add NAME",
		"ok phone SIP phones send audio to 127.0.0.1, ports 24000-24099: 50 calls at once",
		"audio of SIP phones is encrypted, but SIP is not: whoever reads its messages has the keys; add tls: or wss: to sip.listen",
		"note phone SIP phones cannot call users: there are no dispatch rules with transfer_to: phone:NAME")
	for _, tt := range []struct{ listen, proxy string }{{"udp:127.0.0.1:6050, tls:127.0.0.1:6051", "sip:" + proxy},
		{"udp:127.0.0.1:6050", "sips:127.0.0.1:6061"}, {"udp:127.0.0.1:6050", "sip:" + proxy + ";transport=tls"}} {
		cfg := config.Default()
		cfg.SIP.Listen, cfg.SIP.OutboundProxy = strings.Split(tt.listen, ", "), []string{tt.proxy}
		if !sipByTLS(&cfg) {
			t.Errorf("%s and %s are not encrypted", tt.listen, tt.proxy)
		}
	}
}

// proxyOf is a registrar and proxy that asks for passwords, on a real socket.
func proxyOf(t *testing.T, cfg siptest.ProxyConfig) string {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := siptest.NewProxy(c, cfg)
	t.Cleanup(p.Close)
	return c.LocalAddr().String()
}

// With an outbound proxy DNS does not know whether the domain is right: the proxy
// does.
func TestCheckAsksTheProxyWhetherTheDomainIsItsOwn(t *testing.T) {
	proxy := proxyOf(t, siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"201": "123"}})
	_, relaying := apptest.Phone(t, siptest.Script{Answers: map[sip.RequestMethod]int{sip.OPTIONS: 403}})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	for _, tt := range []struct{ domain, realm, proxy, want string }{
		{"sipx.test", "", proxy, ""},
		{"sipx.tset", "", proxy, `warning domain realm: sip:` + proxy + `: udp:` + proxy +
			` asks for passwords of the realm "sipx.test", and the configured realm is "sipx.tset", so it gets none: set realm, or correct domain`},
		{"sipx.test", "", relaying, "warning domain FILE:1: domain: sip:" + relaying + ": udp:" + relaying + " answers OPTIONS for " +
			"sip:sipx.test with 403 Forbidden: does it serve that domain?"},
	} {
		file := apptest.Write(t, dir, "sipxrest.yaml",
			fmt.Sprintf("domain: %s\nusers: [users.yaml]\ntrusted: []\nsip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:%s]}\n", tt.domain,
				tt.proxy))
		ok, out := checked(t, file)
		if tt.want != "" {
			wants(t, out, strings.ReplaceAll(tt.want, "FILE", file), "1 warning.")
		} else if strings.Contains(out, "warning") {
			t.Errorf("%s:\n%s", tt.domain, out)
		}
		if !ok {
			t.Errorf("%s: it says that there are problems:\n%s", tt.domain, out)
		}
	}
}

func TestCheckTriesTheSIPPasswordOfAUser(t *testing.T) {
	proxy := proxyOf(t, siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"201": "123", "202": "rightpw", "203": "x"},
		Locations: map[string]string{"201": "sip:201@127.0.0.1:1"}})
	_, open := apptest.Phone(t, siptest.Script{Answers: map[sip.RequestMethod]int{sip.REGISTER: 200}})
	_, mute := apptest.Phone(t, siptest.Script{Answers: map[sip.RequestMethod]int{sip.REGISTER: -1}})
	_, optionsOnly := apptest.PhoneOf(t, siptest.Account{User: "201", Password: "123"},
		siptest.Script{Answers: map[sip.RequestMethod]int{sip.REGISTER: 405},
			Challenge: siptest.Challenge{Methods: []sip.RequestMethod{sip.OPTIONS}, Status: 401, Realm: "sipx.test"}})
	_, unknowing := apptest.Phone(t, siptest.Script{Answers: map[sip.RequestMethod]int{sip.REGISTER: 404}})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML+"- {user: \"202\", sip-password: wrongpw}\n- {user: \"203\", pin: \"1\"}\n- "+
		"{user: \"204\", ha1: 0cc175b9c0f1b6a831c399e269772661}\n")
	for _, tt := range []struct {
		proxy, realm, user string
		ok                 bool
		want               string
	}{
		{proxy, "sipx.test", "201", true, "ok user 201 sip:PROXY: udp:PROXY takes his SIP password; 1 phone registered"},
		{proxy, "sipx.test", "bob", true, "ok user bob sip:PROXY: udp:PROXY takes his SIP password; 1 phone registered"},
		{proxy, "sipx.test", "202", false, "problem user 202 sip:PROXY: udp:PROXY does not let him call: it refuses the SIP password " +
			"(REGISTER: 401 Unauthorized)"},
		{proxy, "sipx.test", "203", false, "does not let him call: no SIP password is stored for the user: add sip-password to it"},
		{proxy, "sipx.test", "204", false, "does not let him call: it refuses the SIP password"},
		{proxy, "other", "201", false, `does not let him call: it asks for the realm "sipx.test", configured is "other": set realm: sipx.test`},
		{proxy, "sipx.test", "299", false, "problem user 299 there is no user 299 in "},
		{open, "sipx.test", "201", true, "note user 201 sip:PROXY: udp:PROXY asks for no password (REGISTER: 200 OK): whether the SIP " +
			"password is right cannot be told"},
		{mute, "sipx.test", "201", false, "problem user 201 sip:PROXY: udp:PROXY does not answer REGISTER within 400ms"},
		{optionsOnly, "sipx.test", "201", true, "ok user 201 sip:PROXY: udp:PROXY takes his SIP password (OPTIONS: 200 OK)"},
		{optionsOnly, "sipx.test", "202", false, "does not let him call: it refuses the SIP password (OPTIONS: 401 Unauthorized)"},
		{unknowing, "sipx.test", "201", false, "does not know 201@sipx.test (REGISTER: 404 Not Found)"},
	} {
		file := apptest.Write(t, dir, "sipxrest.yaml",
			fmt.Sprintf("%strusted: []\nrealm: %s\nsip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:%s]}\n", apptest.Minimal, tt.realm,
				tt.proxy))
		var b strings.Builder
		c := &checker{ctx: t.Context(), out: &b, wait: 200 * time.Millisecond, bind: bindAnyPort, tried: []string{tt.user}}
		ok := c.run(config.Source{File: file})
		wants(t, b.String(), strings.ReplaceAll(tt.want, "PROXY", tt.proxy))
		if ok != tt.ok {
			t.Errorf("user %s: no problem %v, want %v:\n%s", tt.user, ok, tt.ok, b.String())
		}
		for _, secret := range []string{"wrongpw", "rightpw", "0cc175b9"} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("a secret is printed:\n%s", b.String())
			}
		}
	}
}
