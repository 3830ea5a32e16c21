package dispatch

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sipxrest/internal/webhook"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const everyKey = `
id: r1
name: Support
url: https://hooks.example/calls
events_url: https://hooks.example/events
method: put
trunks: [t1, t2]
numbers: [+4930123456, "030 99"]
inbound-numbers: "+491711"
default_region: DE
timeout: 3s
fallback: 486
headers: {X-Tenant: acme}
sip_headers: [x-customer, Diversion]
project_id: p
hmac_secret: 0123456789abcdef
jwt: {issuer: key1, keys: [{id: key1, secret: abcdefghijklmnop}, {id: key0, secret: ponmlkjihgfedcba}]}
allow_http: false
allow_private: [hooks.example]
proxy: http://proxy.example:3128
mode: redirect
events: [answered, ended, transfer_failed, target_failed]
decide: transfer_failed
pin_check: webhook
policy: staff
`

func TestEveryKeyOfARuleIsRead(t *testing.T) {
	rules, err := ParseRules([]byte(everyKey), "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{{
		ID: "r1", Name: "Support", File: "rules.yaml", Line: 2, Trunks: []string{"t1", "t2"}, Numbers: []string{"+4930123456", "030 99"},
		InboundNumbers: []string{"+491711"}, DefaultRegion: "DE", Redirect: true, Events: Answered | Ended | TransferFailed | TargetFailed,
		Decide: TransferFailed, CheckPIN: true, Policy: "staff", Fallback: Decision{Action: Hangup, Code: 486},
		Webhook: Webhook{
			URL: "https://hooks.example/calls", EventsURL: "https://hooks.example/events", SIPHeaders: []string{"x-customer", "Diversion"},
			ProjectID: "p",
			Endpoint: webhook.Endpoint{
				Method: "PUT", Timeout: 3 * time.Second, Headers: http.Header{"X-Tenant": {"acme"}},
				HMACSecret: "0123456789abcdef", AllowPrivate: []string{"hooks.example"}, Proxy: "http://proxy.example:3128",
				JWT: webhook.JWT{Issuer: "key1", Keys: []webhook.Key{{ID: "key1", Secret: "abcdefghijklmnop"},
					{ID: "key0", Secret: "ponmlkjihgfedcba"}}},
			},
		},
	}}
	if diff := cmp.Diff(want, rules, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b webhook.Secret) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if _, err := newDispatcher(t, everyKey, func(c *Config) { c.CheckPolicy = func(string) error { return nil } }); err != nil {
		t.Error(err)
	}
}

func TestStaticRulesHaveTheFieldsOfAnAnswer(t *testing.T) {
	rules, err := ParseRules([]byte(`
- {id: a, action: hangup, reject_status_code: 486, reject_reason: "On holiday"}
- {id: b, dispatch_action: ACTION_TRANSFER, transfer-to: "tel:+49301", transfer_ringing_timeout: 12s, destination_name: Sales}
- {id: c, room_name: support, pin: 0123, metadata: {tenant: acme, list: [1, true, null]}, attributes: {a: b}}
- {id: d, url: "https://a.example", fallback: {action: transfer, transfer_to: "sip:box@home.example"}}
`), "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []Decision{
		{Action: Hangup, Code: 486, Reason: "On holiday"},
		{Action: Transfer, To: "tel:+49301", Ring: 12 * time.Second, DisplayName: "Sales"},
		{Action: Answer, Room: "support", PIN: "0123", Metadata: `{"list":[1,true,null],"tenant":"acme"}`,
			Attributes: map[string]string{"a": "b"}},
		{Action: Transfer, To: "sip:box@home.example", Ring: 30 * time.Second},
	}
	for i, w := range want {
		got := &rules[i].Fallback
		if i < 3 {
			got = rules[i].Static
		}
		if diff := cmp.Diff(&w, got, cmp.Comparer(func(a, b webhook.Secret) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", rules[i].ID, diff)
		}
	}
}

func TestFaultyRulesSayFileRuleAndKey(t *testing.T) {
	const u = `url: "https://a.example/"`
	for _, c := range []struct{ rules, want string }{
		{"id: a", `rules.yaml:1: rule "a": url: dynamic dispatch rule URL cannot be empty`},
		{u, "rules.yaml:1: id: missing"},
		{`{id: "a b", ` + u + "}", `id: "a b": up to 64 letters`},
		{`{id: a, url: ""}`, "dynamic dispatch rule URL cannot be empty"},
		{"{id: a, url: http://a.example/}", "url: calls and decisions would go in clear: write https://"},
		{"{id: a, url: ftp://a.example/}", `scheme "ftp"`},
		{"{id: a, url: file:///etc/passwd}", `scheme "file"`},
		{"{id: a, url: 'https://u:geheim@a.example/'}", "url: a password in a URL"},
		{"{id: a, url: 'https:///x'}", "url: it names no host"},
		{"{id: a, url: 'https://a.example/#x'}", "url: what follows #"},
		{"{id: a, url: 'https://127.0.0.1/'}", "url: 127.0.0.1 is a private address"},
		{"{id: a, url: 'https://[::ffff:10.0.0.1]/'}", "is a private address"},
		{"{id: a, url: 'https://localhost/'}", "is a private address"},
		{"{id: a, url: 'https://2130706433/'}", "neither a host name nor an address"},
		{"{id: a, url: 'https://0x7f000001/'}", "neither a host name nor an address"},
		{"{id: a, url: 'https://0177.0.0.1/'}", "neither a host name nor an address"},
		{"{id: a, url: 'https://127.1/'}", "neither a host name nor an address"},
		{"{id: a, " + u + ", events_url: 'http://a.example'}", "events_url: calls and decisions"},
		{"{id: a, " + u + ", method: DELETE}", `method: "DELETE": write POST, PUT or GET`},
		{"{id: a, " + u + ", trunks: [nope]}", `trunks: "nope" is no trunk: those of dispatch.trunks are t1, t2`},
		{"{id: a, " + u + ", numbers: ['+4930*']}", "numbers: \"+4930*\": numbers are compared whole"},
		{"{id: a, " + u + ", numbers: ['+49']}", "numbers: \"+49\" is no whole number"},
		{"{id: a, " + u + ", numbers: ['']}", "numbers: an empty value"},
		{"{id: a, " + u + ", inbound_numbers: ['a?']}", "inbound_numbers: \"a?\": numbers are compared whole"},
		{"{id: a, " + u + ", default_region: XX}", "default_region: \"XX\" is no country"},
		{"{id: a, " + u + ", timeout: 5}", "timeout: \"5\" is not a time"},
		{"{id: a, " + u + ", timeout: 5m}", "timeout: 5m0s is not between"},
		{"{id: a, " + u + ", fallback: 503}", "fallback: 503 makes others avoid the whole server"},
		{"{id: a, " + u + ", fallback: 200}", "fallback: 200 does not refuse a call"},
		{"{id: a, " + u + ", fallback: {action: dance}}", "fallback: dispatch_action"},
		{"{id: a, " + u + ", fallback: {x: y}}", "fallback: unknown key"},
		{"{id: a, " + u + ", fallback: [1]}", "fallback: write a code"},
		{"{id: a, " + u + ", headers: {'X Y': a}}", `headers: "X Y" is no header`},
		{"{id: a, " + u + ", headers: {X-Y: \"a\\nb\"}}", `headers: "X-Y" is no header`},
		{"{id: a, " + u + ", headers: {Content-Length: '1'}}", "headers: Content-Length is ours"},
		{"{id: a, " + u + ", headers: {Authorization: x}, jwt: {keys: [{secret: 0123456789abcdef}]}}",
			"headers: the token of jwt goes into Authorization"},
		{"{id: a, " + u + ", sip_headers: [Authorization]}", "sip_headers: \"Authorization\": a header that begins with X-"},
		{"{id: a, " + u + ", hmac_secret: short}", "hmac_secret: it has less than 16 characters"},
		{"{id: a, " + u + ", jwt: {issuer: a}}", "jwt: keys: missing"},
		{"{id: a, " + u + ", jwt: {keys: []}}", "jwt: keys: missing"},
		{"{id: a, " + u + ", jwt: {}}", "jwt: keys: missing"},
		{"{id: a, " + u + ", jwt: {keys: [{id: k, secret: short}]}}", "jwt: keys: the secret of key \"k\" has less than 16"},
		{"{id: a, " + u + ", jwt: {keys: [{secrit: short}]}}", "jwt: keys: unknown key \"secrit\": did you mean \"secret\"?"},
		{"{id: a, " + u + ", allow_private: ['10.0.0.0/8']}", "allow_private: \"10.0.0.0/8\": write the host"},
		{"{id: a, " + u + ", ca_file: no.pem}", "tls: ca_file: open no.pem"},
		{"{id: a, " + u + ", client_cert: no.pem}", "client_cert: client_cert and client_key go together"},
		{"{id: a, " + u + ", proxy: nope}", "proxy: write http://host:port"},
		{"{id: a, " + u + ", mode: teleport}", "mode: \"teleport\" is unknown: write redirect or dial"},
		{"{id: a, " + u + ", events: [born]}", "events: \"born\" is unknown"},
		{"{id: a, " + u + ", decide: [ended]}", "decide: only transfer_failed and target_failed"},
		{"{id: a, " + u + ", pin_check: none}", "pin_check: \"none\" is unknown"},
		{"{id: a, " + u + ", colour: red}", "unknown key \"colour\": known are fallback, allow_http,"},
		{"{id: a, " + u + ", inbound-number: ['1']}", "unknown key \"inbound-number\": did you mean inbound_numbers?"},
		{"{id: a, roomname: x, tranfer_to: y}", "unknown key \"tranfer_to\": did you mean transfer_to?"},
		{"{id: a, " + u + ", jwt: {keys: [{secret: 0123456789abcdef, ID: k, id: k}]}}", "jwt: keys: key \"id\" was set already"},
		{"{id: a, id: b, " + u + "}", "given twice"},
		{"{id: a, " + u + ", inbound_numbers: ['1'], inbound-numbers: ['1']}", "given twice"},
		{"{id: a, " + u + ", action: hangup}", "url: a webhook decides, or the rule does (action)"},
		{"{id: a, action: hangup, events: [ended]}", "events: there is no webhook"},
		{"{id: a, action: hangup, decide: [transfer_failed]}", "decide: a static rule asks nobody"},
		{"{id: a, action: hangup, reject_status_code: 200}", "reject_status_code: 200 does not refuse"},
		{"{id: a, action: transfer, transfer_to: nobody}", "transfer_to: \"nobody\": write a sip:"},
		{"{id: a, room_name: 'a@b'}", `room_name: "a@b" cannot be the user`},
		{"{id: a, metadata: x}", "dispatch_action: missing"},
		{"- 7", "rules.yaml:1: rule 1: write it as"},
		{"a: [", "rules.yaml: "},
		{"- id: a\n\turl: x", "YAML takes no tabs"},
		{"{id: a, " + u + "}\n---\n{id: b, " + u + "}", "more than one document"},
	} {
		_, err := newDispatcher(t, c.rules, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.rules, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error has a password: %v", err)
		}
	}
}

func TestRoomsAndTrunksAreChecked(t *testing.T) {
	for _, c := range []struct {
		set  func(*Config)
		want string
	}{
		{func(c *Config) { c.RoomTarget = "sip:x@{room}.example" }, "dispatch.room-target: \"sip:x@{room}.example\": {room} may stand " +
			"before the @ only"},
		{func(c *Config) { c.RoomTarget = "tel:{room}" }, "rooms are no numbers"},
		{func(c *Config) { c.RoomTarget = "conf" }, "write a sip:"},
		{func(c *Config) { c.Rooms = map[string]string{"a": "b"} }, "dispatch.rooms: a: \"b\": write a sip:"},
		{func(c *Config) { c.Trunks = []Trunk{{Name: "a"}} }, "dispatch.trunks: trunk a: sources or username: missing"},
		{func(c *Config) { c.Trunks = []Trunk{{Name: "a", FromHosts: []string{"carrier.example"}}} },
			"sources or username: missing: anybody can write any host into From"},
		{func(c *Config) { c.Trunks = []Trunk{{Name: "a", Sources: []string{"x"}}} }, "sources: \"x\" is neither"},
		{func(c *Config) { c.Trunks = []Trunk{{Sources: []string{"192.0.2.1"}}} }, "name: missing"},
		{func(c *Config) { c.Trunks = append(testTrunks, testTrunks[0]) }, "trunk t1 is there twice"},
	} {
		if _, err := newDispatcher(t, "[]", c.set); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// An alias of aliases is short to write and endless to read.
func TestAnAliasBombIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("id: a\naction: hangup\nmetadata:\n  a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := range 9 {
		b.WriteString(strings.ReplaceAll("  aNEXT: &aNEXT [*aX,*aX,*aX,*aX,*aX,*aX,*aX,*aX,*aX]\n", "aX", "a"+string(rune('0'+i))))
		s := strings.ReplaceAll(b.String(), "NEXT", string(rune('1'+i)))
		b.Reset()
		b.WriteString(s)
	}
	if _, err := ParseRules([]byte(b.String()), "rules.yaml"); err == nil {
		t.Error("read")
	}
}

func FuzzRules(f *testing.F) {
	f.Add([]byte(everyKey))
	f.Add([]byte(specificRules))
	f.Add([]byte("- {id: a, action: transfer, transfer_to: 'sip:a@b', fallback: {room_name: x}}"))
	f.Add([]byte("- &a {id: a, room_name: x, metadata: [1, {b: c}]}\n- *a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := ParseRules(data, "rules.yaml")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "rules.yaml") {
				t.Errorf("%v", err)
			}
			return
		}
		cfg := Config{Rules: rules, Trunks: testTrunks, Domain: "home.example", RoomTarget: "sip:{room}@c.example"}
		if n, err := Check(cfg); err == nil && n != len(rules) {
			t.Errorf("%d rules of %d", n, len(rules))
		} else if err != nil && !strings.Contains(err.Error(), "rules.yaml") {
			t.Errorf("the error names no file: %v", err)
		}
	})
}

// Who writes a secret wants requests signed: an empty one must not leave them bare.
func TestAnEmptySecretIsAMistake(t *testing.T) {
	for _, field := range []string{"hmac_secret: ''", "hmac_secret: ", "jwt: ", "jwt: {keys: }", "jwt: {keys: [{id: '1', secret: }]}"} {
		if _, err := ParseRules([]byte("{id: a, url: 'https://e.com/', "+field+"}"), "r.yaml"); err == nil {
			t.Errorf("%s is taken", field)
		}
	}
}
