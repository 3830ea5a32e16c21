package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/dialout"
	"sipxrest/dispatch"
	"sipxrest/internal/webhook"
	"sipxrest/policy"
	"sipxrest/restauth"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

var ignoreOrigin = cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(Config{}, "Again")}

func TestEveryKeyOfTheFileIsRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dispatch.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := apptest.Write(t, dir, "sipxrest.yaml", `
domain: sipx.test
realm: other.test
data-dir: /var/lib/x
sip:
  listen: [udp:127.0.0.1:6050, tcp:127.0.0.1:6050, tls:127.0.0.1:6051, wss:127.0.0.1:6053]
  outbound-proxy: [sip:127.0.0.1:5060, "sip:[2001:db8::1]:5060;transport=tcp", sips:proxy.test, "sips:proxy.test;transport=ws"]
  tls: {cert: sip.pem, key: /sip.key, ca: ca.pem, client-auth: require, verify: false, min-version: "1.3"}
  ws-path: /ws
  external-address: 198.51.100.7
  user-agent: test/1
  health: {interval: 1m, timeout: 3s, user: "201"}
  nat: false
http:
  - {listen: "127.0.0.1:6666", tls: {cert: "", key: ""}, auth: trusted-or-pin}
  - {listen: "127.0.0.1:6667", auth: pin}
  - {listen: "127.0.0.1:6668", auth: trusted}
  - {listen: ":6669", tls: {cert: c.pem, key: /k.pem, min-version: "1.3"}}
  - {listen: ":6670"}
trusted: [192.0.2.0/24, domain, "::1"]
reverse-proxies: [192.0.2.9]
allowed-origins: [https://portal.example]
allow-pinless: true
users: [users.yaml, /etc/sipxpbx/validusers.xml]
policy: staff
policies:
  staff:
    - allow: [emergency, internal, "+4930*"]
    - deny: premium
    - default: allow
policy-users: {"201": local-only}
dial: {country: DE, international-prefixes: ["00"], outside-line: ["0"], extension-digits: 4}
call: {timeout: 90s, result-cache-time: 5m, auto-answer: call-info, follow-redirects: true}
refer: {hangup-on: outcome, fallback: false}
limits: {calls: 10, records: 30, connections: 20}
log: {level: debug, format: json}
drain: 1m
metrics: {listen: "127.0.0.1:9100"}
trace: {endpoint: "http://127.0.0.1:4318", sample: 0.25}
dialout:
  servers:
    - url: https://signaling.test/standalone
      secret: internal
      backends: [{url: "https://cloud.test/nextcloud", sip-secret: sip}, {url: "https://cloud2.test", sip-secret: sip2}]
  ca: ca.pem
  gateway: {uri: "sip:gw.test;transport=tls", user: trunk, secret: s, realm: r, domain: d.test, default-number: "+4930"}
  room-target: "sip:{token}@c.test"
  target: sip:conf@c.test
  agent: "201"
  ring-timeout: 90s
  country: US
  dtmf: plain
  limits: {calls: 5, room: 4, user: 3}
dispatch:
  rules: [{id: a, room_name: support, numbers: [5000]}]
  rules-dir: dispatch.d
  trunks: [{name: carrier, sources: [192.0.2.7, domain], from-hosts: [c.test], max-calls: 30}, {name: branch, username: b, password: p}]
  digest-algorithms: [MD5, SHA-256]
  rooms: {support: "sip:9000@sipx.test"}
  room-target: "sip:{room}@c.test"
  agent: "202"
phone:
  enabled: true
  calls: false
  listen: :8443
  tls: {cert: phone.pem, key: /phone.key, min-version: "1.3"}
  plain-http: false
  database: phone.db
  origins: [https://phone.example]
  min-level: client
  ring-time: 45s
  max-call-time: 2h
  limits: {sockets: 100, sockets-per-user: 3, calls: 40, requests-per-user: 5}
  sip: {enabled: true, domain: phones.test, address: 192.0.2.9, rtp-ports: 30000-30009, agent: "203", guests: false, media-allow: `+
		`[127.0.0.0/8], media-nat: [192.0.2.0/24], srtp: required}
dns: {servers: ["127.0.0.1:5353"]}
`)
	got, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Domain: "sipx.test", Realm: "other.test", DataDir: "/var/lib/x",
		SIP: SIP{
			Listen: []string{"udp:127.0.0.1:6050", "tcp:127.0.0.1:6050", "tls:127.0.0.1:6051", "wss:127.0.0.1:6053"},
			OutboundProxy: []string{"sip:127.0.0.1:5060", "sip:[2001:db8::1]:5060;transport=tcp", "sips:proxy.test",
				"sips:proxy.test;transport=ws"},
			TLS: SIPTLS{Cert: filepath.Join(dir, "sip.pem"), Key: "/sip.key", CA: filepath.Join(dir, "ca.pem"), ClientAuth: "require",
				MinVersion: "1.3"},
			WSPath:          "/ws",
			ExternalAddress: "198.51.100.7", UserAgent: "test/1", Health: Health{Interval: time.Minute, Timeout: 3 * time.Second, User: "201"},
		},
		HTTP: []HTTPListener{
			{"127.0.0.1:6666", &TLS{}, "trusted-or-pin"},
			{"127.0.0.1:6667", nil, "pin"},
			{"127.0.0.1:6668", nil, "trusted"},
			{":6669", &TLS{filepath.Join(dir, "c.pem"), "/k.pem", "1.3"}, "trusted-or-pin"},
			{":6670", nil, "pin"},
		},
		Trusted:        []string{"192.0.2.0/24", "domain", "::1"},
		ReverseProxies: []string{"192.0.2.9"},
		AllowedOrigins: []string{"https://portal.example"},
		AllowPinless:   true,
		Users:          []string{filepath.Join(dir, "users.yaml"), "/etc/sipxpbx/validusers.xml"},
		Policy:         "staff",
		Policies: map[string][]policy.Rule{"staff": {
			{Allow: []string{"emergency", "internal", "+4930*"}}, {Deny: []string{"premium"}}, {Default: "allow"}}},
		PolicyUsers: map[string]string{"201": "local-only"},
		Dial:        policy.Dial{Country: "DE", InternationalPrefixes: []string{"00"}, OutsideLine: []string{"0"}, ExtensionDigits: 4},
		Call:        Call{Timeout: 90 * time.Second, ResultCacheTime: 5 * time.Minute, AutoAnswer: "call-info", FollowRedirects: true},
		Refer:       Refer{HangUpOn: "outcome"},
		Limits:      Limits{Calls: 10, Records: 30, Connections: 20},
		Log:         Log{Level: "debug", Format: "json"},
		Drain:       time.Minute,
		Metrics:     Metrics{Listen: "127.0.0.1:9100"},
		Trace:       Trace{Endpoint: "http://127.0.0.1:4318", Sample: 0.25},
		DNS:         DNS{Servers: []string{"127.0.0.1:5353"}},
		Dialout: Dialout{
			Servers: []talk.Server{{URL: "https://signaling.test/standalone", Secret: "internal", Backends: []talk.BackendConfig{
				{URL: "https://cloud.test/nextcloud", SIPSecret: "sip"}, {URL: "https://cloud2.test", SIPSecret: "sip2"}}}},
			CA: filepath.Join(dir, "ca.pem"),
			Gateway: dialout.Gateway{URI: "sip:gw.test;transport=tls", User: "trunk", Secret: "s", Realm: "r", Domain: "d.test",
				DefaultNumber: "+4930"},
			RoomTarget: "sip:{token}@c.test", Target: "sip:conf@c.test", Agent: "201", RingTimeout: 90 * time.Second, Country: "US", DTMF: "plain",
			Limits: dialout.Limits{Calls: 5, Room: 4, User: 3},
		},
		Dispatch: Dispatch{
			Rules: []dispatch.Rule{{ID: "a", Line: 55, Numbers: []string{"5000"},
				Webhook: dispatch.Webhook{Endpoint: webhook.Endpoint{Method: "POST"}},
				Static:  &dispatch.Decision{Action: dispatch.Answer, Room: "support"}, Fallback: dispatch.Decision{Action: dispatch.Hangup,
					Code: 480}}},
			RulesDir: filepath.Join(dir, "dispatch.d"),
			Trunks: []dispatch.Trunk{{Name: "carrier", Sources: []string{"192.0.2.7", "domain"}, FromHosts: []string{"c.test"}, MaxCalls: 30},
				{Name: "branch", Username: "b", Credentials: sipflow.Credentials{Username: "b", Password: "p"}}},
			DigestAlgorithms: []string{"MD5", "SHA-256"},
			Rooms:            map[string]string{"support": "sip:9000@sipx.test"}, RoomTarget: "sip:{room}@c.test", Agent: "202",
		},
		Phone: Phone{
			Enabled: true, Listen: ":8443", TLS: TLS{filepath.Join(dir, "phone.pem"), "/phone.key", "1.3"}, Database: filepath.Join(dir, "phone.db"),
			Origins: []string{"https://phone.example"}, MinLevel: "client", RingTime: 45 * time.Second, MaxCall: 2 * time.Hour,
			Limits: PhoneLimits{Sockets: 100, SocketsPerUser: 3, Calls: 40, RequestsPerUser: 5},
			SIP: PhoneSIP{Enabled: true, Domain: "phones.test", Address: "192.0.2.9", RTPPorts: "30000-30009", Agent: "203",
				MediaAllow: []string{"127.0.0.0/8"}, MediaNAT: []string{"192.0.2.0/24"}, SRTP: "required"},
		},
	}
	absent := Default()
	defaults := absent.keys()
	for i, k := range want.keys() {
		if !got.IsSet(k.Name) { // it has its default
			reflect.ValueOf(k.At).Elem().Set(reflect.ValueOf(defaults[i].At).Elem())
		}
	}
	if diff := cmp.Diff(want, got, ignoreOrigin); diff != "" {
		t.Error(diff)
	}
}

func TestConfigurationFaultsNameThePlaceAndTheFix(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"misspelt key", "domain: a.test\nuser: [users.yaml]", `sipxrest.yaml:2: unknown key "user": did you mean "users"?`},
		{"misspelt key in a section", apptest.Minimal + "sip:\n  outbond-proxy: [x]",
			`sipxrest.yaml:4: unknown key "sip.outbond-proxy": did you mean "sip.outbound-proxy"?`},
		{"underscore", apptest.Minimal + "data_dir: x", `:3: unknown key "data_dir": did you mean "data-dir"?`},
		{"swapped letters", apptest.Minimal + "deamin: x\nraelm: y", `:4: unknown key "raelm": did you mean "realm"?`},
		{"key in the wrong section", apptest.Minimal + "listen: [x]", `did you mean "sip.listen"? Write it in section "sip"`},
		{"nothing like it", apptest.Minimal + "zzzzzz: 1", `unknown key "zzzzzz": known here are domain, realm, data-dir, sip,`},
		{"unknown key of a listener", apptest.Minimal + "http:\n- listen: ':1'\n- listen: ':2'\n  ath: pin",
			`:6: http: unknown key "ath": did you mean "auth"?`},
		{"unknown key of tls", apptest.Minimal + "http:\n- {listen: ':1', tls: {crt: a}}",
			`:4: http: unknown key "tls.crt": did you mean "tls.cert"?`},
		{"key twice", apptest.Minimal + "realm: a\nrealm: b", `:4: key "realm" was set already in line 3`},
		{"section twice", apptest.Minimal + "refer: {hangup-on: outcome}\nrefer: {fallback: false}",
			`:4: key "refer" was set already in line 3: put what is below both into one`},
		{"section as value", apptest.Minimal + "sip: udp", `:3: sip is a section: put listen below it`},
		{"value as section", apptest.Minimal + "realm: {a: b}", `:3: realm: one value is expected here`},
		{"no unit", apptest.Minimal + "call: {timeout: 180}", `:3: call.timeout: 180 needs a unit: write 180s`},
		{"no time", apptest.Minimal + "drain: soon", `:3: drain: "soon" is not a time: write 30s, 3m or 1h`},
		{"no truth", apptest.Minimal + "allow-pinless: yes", `:3: allow-pinless: "yes" is neither true nor false`},
		{"no number", apptest.Minimal + "limits: {calls: many}", `:3: limits.calls: "many" is not a whole number`},
		{"list in a list", apptest.Minimal + "trusted:\n- a\n- [b]", `:5: trusted: a list of plain values`},
		{"tls without braces", apptest.Minimal + "http:\n- listen: ':1'\n  tls:", `:5: http: tls: write tls: {} for a self-signed certificate`},
		{"no YAML", "domain: [", `sipxrest.yaml: `},
		{"no mapping", "- a", `sipxrest.yaml:1: lines such as domain: pbx.example are expected`},
		{"empty", "", `sipxrest.yaml is empty`},
		{"no domain", "users: [u]", `domain: missing: name the SIP domain`},
		{"domain is a URI", "domain: sip:a.test\nusers: [u]", `sipxrest.yaml:1: domain: "sip:a.test": write the domain without sip:`},
		{"domain with port", "domain: a.test:5060\nusers: [u]", `is not a domain name`},
		{"no users", "domain: a.test", `users: missing: name the file with the users`},
		{"no transport", apptest.Minimal + "sip: {listen: ['127.0.0.1:6050']}", `:3: sip.listen: "127.0.0.1:6050": write the transport first`},
		{"no port", apptest.Minimal + "sip: {listen: ['udp:127.0.0.1']}", `write an IP address and a port`},
		{"socket twice", apptest.Minimal + "sip: {listen: ['udp:127.0.0.1:1', 'udp:127.0.0.1:1']}", `is there twice`},
		{"proxy without scheme", apptest.Minimal + "sip: {outbound-proxy: 10.0.0.1}", `write a SIP URI, such as sip:192.0.2.1:5060`},
		{"proxy port", apptest.Minimal + "sip: {outbound-proxy: 'sip:a.test:99999'}", `"99999" is not a port`},
		{"proxy by TLS", apptest.Minimal + "sip: {outbound-proxy: 'sips:a.test'}", `sip.listen has no tls socket: add tls:ADDRESS:PORT to it`},
		{"proxy by WSS", apptest.Minimal + "sip: {listen: ['tls:127.0.0.1:1'], outbound-proxy: 'sips:a.test;transport=ws'}",
			`add wss:ADDRESS:PORT to it`},
		{"proxy by sips over UDP", apptest.Minimal + "sip: {outbound-proxy: 'sips:a.test;transport=udp'}", `a sips URI cannot use udp`},
		{"SIP key alone", apptest.Minimal + "sip: {tls: {key: a}}", `sip.tls.cert: write both sip.tls.cert and sip.tls.key`},
		{"SIP client certificates", apptest.Minimal + "sip: {tls: {client-auth: required}}",
			`:3: sip.tls.client-auth: "required" is unknown: did you mean "require"?`},
		{"SIP TLS version", apptest.Minimal + "sip: {tls: {min-version: '2'}}", `:3: sip.tls.min-version: "2" is unknown`},
		{"WebSocket path", apptest.Minimal + "sip: {ws-path: 'a b'}", `:3: sip.ws-path: "a b": write the path`},
		{"proxy parameter", apptest.Minimal + "sip: {outbound-proxy: 'sip:a.test;maddr=1.2.3.4'}", `only ;lr and ;transport=udp, tcp`},
		{"proxy transport", apptest.Minimal + "sip: {listen: ['udp:127.0.0.1:1'], outbound-proxy: 'sip:a.test;transport=tcp'}",
			`sip.listen has no tcp socket: add tcp:ADDRESS:PORT`},
		{"proxy with user", apptest.Minimal + "sip: {outbound-proxy: 'sip:u@a.test'}", `neither a host name nor an address`},
		{"policy", apptest.Minimal + "http: [{listen: ':1', auth: trusted-or-pins}]",
			`:3: http: listener 1: auth: "trusted-or-pins" is unknown: did you mean "trusted-or-pin"?`},
		{"no listen", apptest.Minimal + "http: [{auth: pin}]", `listener 1: listen: missing`},
		{"listener twice", apptest.Minimal + "http: [{listen: ':1'}, {listen: ':1'}]", `listener 2: listen: :1 is there twice`},
		{"key without cert", apptest.Minimal + "http: [{listen: ':1', tls: {key: k}}]", `write both cert and key`},
		{"TLS version", apptest.Minimal + "http: [{listen: ':1', tls: {min-version: 1.9}}]", `tls.min-version: "1.9" is unknown`},
		{"no listeners", apptest.Minimal + "http: []", `http: missing`},
		{"trusted", apptest.Minimal + "trusted: [domains]",
			`:3: trusted: "domains" is not a network: write 192.0.2.0/24 or an address, or the word domain`},
		{"reverse proxy", apptest.Minimal + "reverse-proxies: [proxy]",
			`reverse-proxies: "proxy" is not a network: write 192.0.2.0/24 or an address`},
		{"origin with path", apptest.Minimal + "allowed-origins: [https://a.test/]", `without a path`},
		{"any origin", apptest.Minimal + "allowed-origins: ['*']", `write the page's scheme and host`},
		{"auto-answer", apptest.Minimal + "call: {auto-answer: callinfo}", `did you mean "call-info"?`},
		{"hangup-on", apptest.Minimal + "refer: {hangup-on: outcom}", `did you mean "outcome"?`},
		{"level", apptest.Minimal + "log: {level: loud}", `"loud" is unknown: write debug, info, warn or error`},
		{"timeout too long", apptest.Minimal + "call: {timeout: 2h}", `2h0m0s is not between 1s and 1h0m0s`},
		{"no calls", apptest.Minimal + "limits: {calls: 0}", `0 is not between 1 and 1000000`},
		{"DNS server", apptest.Minimal + "dns: {servers: [ns.test]}", `dns.servers: "ns.test" is not an address`},
		{"external address", apptest.Minimal + "sip: {external-address: '1.2.3.4:5060'}", `neither a host name nor an address`},
		{"health interval", apptest.Minimal + "sip: {health: {interval: 10ms}}", `:3: sip.health.interval: 10ms is not between 1s and 1h0m0s`},
		{"health timeout", apptest.Minimal + "sip: {health: {timeout: 1m}}", `:3: sip.health.timeout: 1m0s is not between 100ms and 30s`},
		{"external address without proxies", apptest.Minimal + "sip: {external-address: auto}",
			`:3: sip.external-address: auto is what the outbound proxies answer to OPTIONS: set sip.outbound-proxy`},
		{"external address without checks", apptest.Minimal + "sip: {external-address: auto, outbound-proxy: 'sip:a.test', health: " +
			"{interval: 0s}}", `sip.health.interval above 0`},
		{"external address mistyped", apptest.Minimal + "sip: {external-address: 300.1.1.1}",
			`"300.1.1.1" is neither a host name nor an address`},
		{"proxy mistyped", apptest.Minimal + "sip: {outbound-proxy: 'sip:300.1.1.1'}", `"300.1.1.1" is neither a host name nor an address`},
		{"limit", apptest.Minimal + "limits: {call-rate: -1}",
			`:3: limits.call-rate: -1 is not between 1 and 1000000: write such a number, or 0 for no limit`},
		{"metrics on the port of HTTP", apptest.Minimal + "metrics: {listen: '127.0.0.1:6666'}",
			`metrics.listen: 127.0.0.1:6666 is a listener of http already`},
		{"header injection", apptest.Minimal + `sip: {user-agent: "a\r\nb"}`, `control character`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := apptest.Write(t, t.TempDir(), "sipxrest.yaml", tt.text)
			_, err := Load(Source{File: file})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\n want …%s…", err, tt.want)
			}
		})
	}
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	file := apptest.Write(t, t.TempDir(), "sipxrest.yaml", "relm: a\ndrain: 5\n")
	_, err := Load(Source{File: file, Environ: []string{"SIPXREST_LOG_LEVL=info"}, Set: []Setting{{"--set", "domian", "x"}}})
	for _, want := range []string{`unknown key "relm"`, "drain: 5 needs a unit", "SIPXREST_LOG_LEVEL?",
		`--set: unknown key "domian": did you mean "domain"?`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestFlagsBeatEnvironmentBeatsFileBeatsDefaults(t *testing.T) {
	dir := t.TempDir()
	file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+"realm: file\nlog: {level: warn}\nsip: {user-agent: file}\ndrain: 5s\n")
	cfg, err := Load(Source{
		File:    file,
		Environ: []string{"SIPXREST_REALM=env", "SIPXREST_LOG_LEVEL=error", "PATH=/bin", "SIPXREST_DRAIN="},
		Set:     []Setting{{"--log-level", "log.level", "debug"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{cfg.SIP.UserAgent, cfg.Realm, cfg.Log.Level, cfg.Log.Format, cfg.Drain.String()}
	if want := []string{"file", "env", "debug", "text", "5s"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEveryKeyCanBeSetInTheEnvironment(t *testing.T) {
	cfg, err := Load(Source{ConfDir: "", Environ: []string{
		"SIPXREST_DOMAIN=sipx.test", "SIPXREST_USERS=users.yaml", "SIPXREST_DATA_DIR=d",
		"SIPXREST_SIP_LISTEN=[udp:127.0.0.1:1, tcp:127.0.0.1:1]",
		"SIPXREST_SIP_OUTBOUND_PROXY=sip:127.0.0.1:5060",
		`SIPXREST_HTTP=[{listen: ":1", tls: {}}]`,
		"SIPXREST_TRUSTED=[10.0.0.0/8, domain]",
		"SIPXREST_CALL_RESULT_CACHE_TIME=1m", "SIPXREST_REFER_HANGUP_ON=outcome", "SIPXREST_REFER_FALLBACK=false",
		"SIPXREST_LIMITS_CALLS=7", "SIPXREST_SIP_USER_AGENT=a: b", "SIPXREST_SIP_HEALTH_INTERVAL=0s",
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Domain, want.Realm, want.Users, want.DataDir = "sipx.test", "sipx.test", []string{"users.yaml"}, "d"
	want.SIP = SIP{Listen: []string{"udp:127.0.0.1:1", "tcp:127.0.0.1:1"}, OutboundProxy: []string{"sip:127.0.0.1:5060"}, UserAgent: "a: b",
		TLS: SIPTLS{ClientAuth: "none", Verify: true}, WSPath: "/",
		NAT: true, Health: Health{Interval: 0, Timeout: 2 * time.Second}}
	want.HTTP = []HTTPListener{{":1", &TLS{}, "trusted-or-pin"}}
	want.Trusted = []string{"10.0.0.0/8", "domain"}
	want.Call.ResultCacheTime, want.Refer, want.Limits.Calls = time.Minute, Refer{HangUpOn: "outcome"}, 7
	if diff := cmp.Diff(want, cfg, ignoreOrigin); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownVariablesAreFaults(t *testing.T) {
	base := []string{"SIPXREST_DOMAIN=a.test", "SIPXREST_USERS=u"}
	for variable, want := range map[string]string{
		"SIPXREST_OUTBOUND_PROXY=x":     "did you mean SIPXREST_SIP_OUTBOUND_PROXY?",
		"SIPXREST_SIP_OUTBUOND_PROXY=x": "did you mean SIPXREST_SIP_OUTBOUND_PROXY?",
		"SIPXREST_QWERTZUIOP=x":         "every key of sipxrest.yaml is one",
		"SIPXREST_DRAIN=5":              "environment: SIPXREST_DRAIN: drain: 5 needs a unit",
		"SIPXREST_HTTP=[":               "environment: SIPXREST_HTTP: http: ",
		"SIPXREST_LOG_LEVEL=loud":       "environment: SIPXREST_LOG_LEVEL: log.level: \"loud\" is unknown",
	} {
		_, err := Load(Source{Environ: append(base, variable)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want …%s…", variable, err, want)
		}
	}
}

func TestWithoutAConfigurationItSaysHowToWriteOne(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := Load(Source{})
	if !errors.Is(err, ErrNoConfig) {
		t.Fatalf("error %v", err)
	}
	if !strings.Contains(err.Error(), "sipxrest serve --example-config > sipxrest.yaml") {
		t.Errorf("no hint in %v", err)
	}
	if _, err := Load(Source{File: "nowhere.yaml"}); err == nil || !strings.Contains(err.Error(), "--example-config > nowhere.yaml") {
		t.Errorf("error %v", err)
	}
	apptest.Write(t, ".", "sipxrest.yaml", apptest.Minimal)
	if _, err := Load(Source{}); err != nil {
		t.Errorf("./sipxrest.yaml was not found: %v", err)
	}
}

func TestTheExampleLoadsAndShowsTheDefaults(t *testing.T) {
	dir := t.TempDir()
	got, err := Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", Example)})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Domain, want.Realm, want.Users = "pbx.example", "pbx.example", []string{filepath.Join(dir, "users.yaml")}
	want.DataDir = filepath.Join(dir, "data")
	if diff := cmp.Diff(want, got, ignoreOrigin); diff != "" {
		t.Error(diff)
	}
	// With every comment that holds a key taken away it is still right.
	var all strings.Builder
	for line := range strings.Lines(Example) {
		if rest, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "#"); ok && rest != "" && rest[0] != ' ' && rest[0] != '\n' {
			line = line[:len(line)-len(rest)-1] + rest
		}
		all.WriteString(line)
	}
	dispatchFiles(t, dir)
	promptFiles(t, dir)
	// Of two ways to join phones with a conversation there is one.
	either := regexp.MustCompile(`(?m)^  (room-target: .*token|audio: .*ice-port).*\n`).FindAllString(all.String(), -1)
	if len(either) != 2 {
		t.Fatalf("of room-target and audio the example shows %q", either)
	}
	shown := map[string]bool{}
	for _, other := range either {
		file := strings.Replace(all.String(), other, "", 1)
		if strings.HasPrefix(other, "  audio") { // without it nobody can call into Talk
			file = regexp.MustCompile(`(?ms)^dialin:.*?^dispatch:`).ReplaceAllString(file, "dispatch:")
			file = regexp.MustCompile(`(?m)^ .*("talk:|backend: h|language: de).*\n`).ReplaceAllString(file, "")
		}
		full, err := Load(Source{File: apptest.Write(t, dir, "full.yaml", file)})
		if err != nil {
			t.Fatalf("%v\n%s", err, file)
		}
		for key := range full.origin {
			shown[key] = true
		}
	}
	for _, k := range want.keys() {
		if !shown[k.Name] {
			t.Errorf("the example does not show %s", k.Name)
		}
	}
}

func TestThePackagedConfigurationIsTheExample(t *testing.T) {
	packaged, err := os.ReadFile("../../../packaging/sipxrest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The service under systemd and commands in a shell must mean the same folder.
	if want := strings.Replace(Example, "\n#data-dir: data\n", "\ndata-dir: "+SystemDataDir+"\n", 1); string(packaged) != want ||
		want == Example {
		t.Error("packaging/sipxrest.yaml differs from cmd/sipxrest/config/example.yaml in more than data-dir: go generate ./cmd/sipxrest/config")
	}
	unit, err := os.ReadFile("../../../packaging/sipxrest.service")
	if err != nil {
		t.Fatal(err)
	}
	if dir := "\nStateDirectory=" + filepath.Base(SystemDataDir) + "\n"; !strings.Contains(string(unit), dir) ||
		!strings.Contains(string(unit), " --config "+SystemFile+"\n") {
		t.Errorf("the unit lacks %s or %s", dir, SystemFile)
	}
}

func FuzzReadFile(f *testing.F) {
	f.Add(Example)
	f.Add("a: &a [*a]\ntrusted: *a\n")
	f.Add("sip: &s {listen: [x]}\nhttp: [*s]\n? [a]\n: b\n<<: *s\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := apptest.Write(t, t.TempDir(), "sipxrest.yaml", text)
		_, _ = Load(Source{File: file}) // an error is an answer, a panic is not
	})
}

func TestThePackagedUsersLoad(t *testing.T) {
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: "pbx.example", Files: []string{"../../../packaging/users.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := users.Lookup("bob"); !ok || u.Name != "201" || !u.HasPIN() || u.SIPPassword == "" {
		t.Errorf("got %v", u)
	}
}

func TestTheDataDirDoesNotDependOnWhereACommandIsStarted(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "")
	dir := t.TempDir()
	apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal)
	t.Chdir(dir)
	for name, src := range map[string]Source{
		"found here":  {},
		"relative":    {File: "sipxrest.yaml"},
		"absolute":    {File: filepath.Join(dir, "sipxrest.yaml")},
		"environment": {Environ: []string{"SIPXREST_CONFIG=../" + filepath.Base(dir) + "/sipxrest.yaml"}},
	} {
		if cfg, err := Load(src); err != nil || cfg.DataDir != filepath.Join(dir, "data") {
			t.Errorf("%s: %s, %v", name, cfg.DataDir, err)
		}
	}
	if got := defaultDataDir(SystemFile); got != SystemDataDir {
		t.Errorf("of the system's configuration: %s", got)
	}
	t.Setenv("STATE_DIRECTORY", "/var/lib/other")
	if cfg, err := Load(Source{}); err != nil || cfg.DataDir != "/var/lib/other" {
		t.Errorf("under systemd: %s, %v", cfg.DataDir, err)
	}
	apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+"data-dir: mine\n")
	if cfg, err := Load(Source{}); err != nil || cfg.DataDir != "mine" && cfg.DataDir != filepath.Join(dir, "mine") {
		t.Errorf("configured: %s, %v", cfg.DataDir, err)
	}
}
