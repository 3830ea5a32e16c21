package config

import (
	"time"

	"sipxrest/internal/setting"
	"sipxrest/restauth/imdb"
	"sipxrest/sipflow"
)

// rows is the table of keys, bound to c. Sections of features have theirs beside
// their fields.
func (c *Config) rows() []row {
	rows := []row{
		{Name: "domain", Set: setting.Text(&c.Domain), Absent: "required", Live: true, Show: "pbx.example",
			Doc: "SIP domain whose users call",
			About: "\n" +
				"The SIP domain whose users call."},
		{Name: "realm", Set: setting.Text(&c.Realm), Absent: "the domain", Show: "pbx.example",
			Doc:   "digest realm of PINs and SIP passwords",
			About: "The digest realm of PINs and SIP passwords. Default: the domain."},
		{Name: "data-dir", Set: setting.Path(&c.DataDir),
			Absent: "systemd's state directory, `/var/lib/sipxrest` for `/etc/sipxrest/sipxrest.yaml`, else `data` beside the file", Show: "data",
			Doc: "keeps the self-signed certificate, the users of calls over WebSocket, notes of calls to telephones, and the socket for `sipxrest reload`",
			About: "\n" +
				"Where the service keeps its self-signed certificate, the users of calls over\n" +
				"WebSocket, notes of calls to telephones, and the socket for sipxrest reload.\n" +
				"Default: systemd's StateDirectory, else \"data\" beside this file."},
		{Name: "sip.listen", Set: setting.Texts(&c.SIP.Listen),
			Absent: "port 6050 of the machine's own address, `udp:` and `tcp:`", Show: "[udp:192.0.2.10:6050, tcp:192.0.2.10:6050]",
			Doc: "SIP sockets, `udp:192.0.2.10:6050`, likewise `tcp:`, `tls:`, `ws:` and `wss:`; for both families one of each, `udp:[2001:db8::10]:6050`",
			About: "Sockets, by address: phones answer to it. Default: port 6050 on the\n" +
				"machine's own address, UDP and TCP.\n" +
				"tls:, ws: and wss: are TLS and WebSocket (RFC 7118)."},
		{Name: "sip.outbound-proxy", Set: setting.Texts(&c.SIP.OutboundProxy), Absent: "RFC 3263 on the calling user's domain", Show: "[sip:192.0.2.1:5060]",
			Doc: "SIP URIs; each call goes to the first that answers",
			About: "\n" +
				"Every request goes to the first of these that answers. Default: the\n" +
				"domain's servers by DNS (RFC 3263)."},
		{Name: "sip.external-address", Set: setting.Text(&c.SIP.ExternalAddress), Absent: "the socket's", Show: "198.51.100.7",
			Doc: "address in Via, Contact and SDP, behind NAT; `auto`: the one under which the outbound proxies see each socket, asked by the health checks",
			About: "\n" +
				"The address that phones see, when it is not the socket's own (NAT).\n" +
				"auto: the one under which the outbound proxies see it."},
		{Name: "sip.nat", Set: setting.Truth(&c.SIP.NAT), Default: "true",
			Doc: "requests in a call with a phone whose Contact is a private address, and whose messages come from a public one, go there",
			About: "Requests in a call with a phone whose Contact is a private address, and whose\n" +
				"messages come from a public one, go there."},
		{Name: "sip.health.interval", Set: setting.Duration(&c.SIP.Health.Interval), Default: "30s",
			Doc: "how often each server of the outbound proxies gets an OPTIONS, which also keeps a NAT's UDP binding open; `0`: never; 1 s to 1 h"},
		{Name: "sip.health.timeout", Set: setting.Duration(&c.SIP.Health.Timeout), Default: "2s",
			Doc: "a server that has not answered by then, or answers 503, gets calls last until it answers again; 100 ms to 30 s"},
		{Name: "sip.health.user", Set: setting.Text(&c.SIP.Health.User), Show: "\"\"",
			Doc: "the user in whose name these OPTIONS are sent, and whose SIP password answers challenges. An Asterisk that knows users by digest logs `No matching endpoint found` for others, which fail2ban may take for an attack"},
		{Name: "sip.user-agent", Set: setting.Text(&c.SIP.UserAgent), Absent: "`sipxrest`", Show: "sipxrest",
			Doc: "User-Agent header field"},
		{Name: "sip.tls.cert", Set: setting.Path(&c.SIP.TLS.Cert), Absent: "self-signed, made once", Show: "sip.crt",
			Doc: "PEM certificate, with intermediate ones, for sockets `tls:` and `wss:` and for servers that ask for one; read again when it changes"},
		{Name: "sip.tls.key", Set: setting.Path(&c.SIP.TLS.Key), Absent: "–", Show: "sip.key",
			Doc: "its PEM key"},
		{Name: "sip.tls.ca", Set: setting.Path(&c.SIP.TLS.CA), Absent: "the system's", Show: "ca.crt",
			Doc: "PEM file of the authorities that servers and clients are verified with"},
		{Name: "sip.tls.client-auth", Set: setting.Text(&c.SIP.TLS.ClientAuth), Check: word("none", "request", "require"), Default: "none",
			Doc: "`request` or `require` a certificate of whoever connects; one that is shown is verified"},
		{Name: "sip.tls.verify", Set: setting.Truth(&c.SIP.TLS.Verify), Default: "true",
			Doc: "`false` takes every certificate: for labs only"},
		{Name: "sip.tls.min-version", Set: setting.Text(&c.SIP.TLS.MinVersion), Absent: "`1.2`", Show: "\"1.2\"",
			Doc: "oldest TLS version spoken"},
		{Name: "sip.ws-path", Set: setting.Text(&c.SIP.WSPath), Default: "/",
			Doc:   "path of the WebSocket servers that are connected to",
			About: "The path of WebSocket servers that are connected to."},
		{Name: "http", Set: listeners(&c.HTTP),
			Default: "[{listen: \":6666\", tls: {}}, {listen: \":6667\"}]", Absent: "`:6666` with TLS and `trusted-or-pin`, `:6667` with `pin`",
			Doc: "listeners: `{listen: \":6666\", tls: {cert: FILE, key: FILE, min-version: \"1.2\"}, auth: POLICY}`; `tls: {}` is self-signed, no `tls` is plain HTTP",
			About: "\n" +
				"HTTP listeners. auth is one of\n" +
				"  trusted-or-pin  \"trusted\" peers need no PIN, others Basic or Digest (default with TLS)\n" +
				"  pin             Digest with the PIN; without TLS no Basic (default without TLS)\n" +
				"  trusted         only \"trusted\" peers, no PIN\n" +
				"tls: {} makes a self-signed certificate once and keeps it in data-dir.",
			Show: `
  #- {listen: ":6666", tls: {cert: "", key: ""}, auth: trusted-or-pin}
  #- {listen: ":6667", auth: pin}
  #- {listen: "127.0.0.1:6668", auth: trusted}
  # min-version "1.0" lets very old clients in; the default is "1.2".
  #- {listen: ":6669", tls: {cert: tls.crt, key: tls.key, min-version: "1.2"}}`},
		{Name: "trusted", Set: setting.Texts(&c.Trusted), Default: "[domain]",
			Doc: "networks, addresses, and the word `domain` for the domain's SIP proxies by DNS; never loopback unless listed",
			About: "\n" +
				"Who needs no PIN: networks, addresses, and the word domain for the domain's\n" +
				"SIP proxies (never loopback: list 127.0.0.0/8 yourself where that is safe)."},
		{Name: "reverse-proxies", Set: setting.Texts(&c.ReverseProxies), Show: "[]",
			Doc:   "networks whose X-Forwarded-For is believed",
			About: "Reverse proxies in front of this service, whose X-Forwarded-For is believed."},
		{Name: "allowed-origins", Set: setting.Texts(&c.AllowedOrigins), Check: origins, Show: "[]",
			Doc:   "browser pages that may call, `https://portal.example`",
			About: "Browser pages that may call, such as https://portal.example."},
		{Name: "http-names", Set: setting.Texts(&c.HTTPNames), Show: "[]",
			Doc: "names by which browsers may call this service, `pbx.intranet`, beside its addresses, `localhost`, the machine's and the listeners' names, `sip.external-address`, `domain` with all below it, and the hosts of `allowed-origins`; `*`: any. Others get 421, from the sockets of `metrics.listen`, `ws:` and `wss:` too, lest a page have its own name lead here (DNS rebinding). Programs that are no browsers may use any name",
			About: "Names by which browsers may call, beside addresses, the machine's name and all\n" +
				"in the domain; \"*\" is any. Programs that are no browsers may use any name."},
		{Name: "allow-pinless", Set: setting.Truth(&c.AllowPinless), Default: "false",
			Doc:   "let everybody act for users without a PIN",
			About: "true lets users without a PIN in. Anybody can then call in their name."},
		{Name: "users", Set: setting.PathsOrURLs(&c.Users, imdb.IsURL), Check: checkUsers, Absent: "required", After: "data-dir", Live: true, Show: "[users.yaml]",
			Doc: "users' files: YAML, validusers.xml, htpasswd or htdigest; or sipXcom's database, `mongodb://user:password@host/imdb`",
			About: "\n" +
				"The users who may call: YAML lists as below, a sipXecs validusers.xml, or the\n" +
				"database of sipXcom 4.6 and later, mongodb://127.0.0.1:27017/imdb.\n" +
				"The files are watched; a changed one is read without a restart.\n" +
				"  - {user: \"201\", name: Bob Caller, aliases: [bob], pin: \"1234\", sip-password: \"secret\"}\n" +
				"`sipxrest user hash 201` makes hashes to store in place of the clear secrets."},
		{Name: "policy", Set: setting.Text(&c.Policy), AtOnce: true, Absent: "none: everything", Show: "no-premium",
			Doc: "what users may dial: `no-premium`, `no-international`, `local-only`, `unrestricted`, or one of `policies`",
			About: "\n" +
				"Whom users may call. Without a policy everybody may call everything. Ready-made:\n" +
				"  no-premium        all but premium and satellite numbers\n" +
				"  no-international  nor numbers of other countries\n" +
				"  local-only        users and extensions of the domain, and emergency numbers\n" +
				"  unrestricted      everything\n" +
				"\"sipxrest policy try NUMBER\" tells what a number is and who may dial it."},
		{Name: "policies", Set: policies(&c.Policies), AtOnce: true,
			After: "policy-users", Show: "{staff: [{allow: [emergency, internal, \"+498912345*\"]}, {deny: [premium, satellite, \"+4418*\"]}, {default: allow}]}",
			Doc: "policies of your own: rules by name, see [users-and-policy.md](users-and-policy.md#whom-users-may-call)",
			About: "Your own: the first rule that matches decides, what none matches is refused.\n" +
				"Classes: emergency, premium, shared-cost, satellite, international, national,\n" +
				"mobile, internal, external-domain, any. \"+4930*\" are all numbers that begin\n" +
				"so, \"2??\" are extensions, \"@example.com\" is a domain."},
		{Name: "policy-users", Set: setting.Words(&c.PolicyUsers, `{"201": local-only}`), AtOnce: true, Show: "{\"201\": local-only}",
			Doc:   "policies of single users, by name or alias: `{\"201\": local-only}`",
			About: "Policies of single users; \"policy:\" in users.yaml goes before them."},
		{Name: "dial.country", Set: setting.Text(&c.Dial.Country), AtOnce: true, Show: "DE",
			Doc: "country whose numbers are dialled without a country code, `DE`; without it policies refuse such numbers where their class counts"},
		{Name: "dial.international-prefixes", Set: setting.Texts(&c.Dial.InternationalPrefixes), AtOnce: true,
			Absent: "`[\"00\", \"011\"]`", Show: "[\"00\", \"011\"]",
			Doc: "what stands for the `+`, beside what is usual in the country"},
		{Name: "dial.outside-line", Set: setting.Texts(&c.Dial.OutsideLine), AtOnce: true, Show: "[]",
			Doc: "digits for a line to the outside, `[\"0\"]`"},
		{Name: "dial.extension-digits", Set: setting.Number(&c.Dial.ExtensionDigits), AtOnce: true, Absent: "`5`", Show: "5",
			Doc: "length of the longest extension: so many digits and fewer stay inside; 1 to 12"},
		{Name: "call.timeout", Set: setting.Duration(&c.Call.Timeout), Check: between(time.Second, time.Hour), Default: "180s",
			Doc:   "how long the calling phone rings when the request does not say; 1 s to 1 h",
			About: "How long the calling phone is alerted."},
		{Name: "call.result-cache-time", Set: setting.Duration(&c.Call.ResultCacheTime), Check: between(time.Second, 24*time.Hour), Default: "180s",
			Doc:   "how long a result can be read; 1 s to 24 h",
			About: "How long a call's record can be read after its last event."},
		{Name: "call.auto-answer", Set: setting.Text(&c.Call.AutoAnswer), Check: word(sipflow.AutoAnswerWords[:]...), Default: "off", Show: "\"off\"",
			Doc: "how the agent's phone is asked to pick up by itself, for requests with `autoAnswer=true`. `answer-mode` is RFC 5373. `call-info` (`answer-after=0`) is for Snom, Grandstream and Yealink, `alert-info` (`info=alert-autoanswer`) for Polycom, Aastra and Yealink",
			About: "How the agent's own phone is asked to pick up by itself, for requests with\n" +
				"autoAnswer=true: answer-mode, call-info or alert-info, as your phones know it."},
		{Name: "call.follow-redirects", Set: setting.Truth(&c.Call.FollowRedirects), Default: "false",
			Doc:   "`true`: phones may forward calls by 302 in every call, not only with `isForwardingAllowed`",
			About: "Call who a phone's 302 names instead, also without isForwardingAllowed."},
		{Name: "refer.hangup-on", Set: setting.Text(&c.Refer.HangUpOn), Check: word("progress", "outcome"), Default: "progress",
			Doc: "`progress`: leave the call when the called phone rings; `outcome`: when it has answered or refused (as sipXecs 4.2)",
			About: "When to hang up the calling phone's leg: \"progress\" (the other phone\n" +
				"rings) or \"outcome\" (it has answered or refused)."},
		{Name: "refer.fallback", Set: setting.Truth(&c.Refer.Fallback), Default: "true",
			Doc:   "join the phones by re-INVITE when the calling one refuses REFER (with any code but 401, 407 and 481), does not answer it, or cannot follow it yet; `false`: hang it up with the reason",
			About: "Join the phones by re-INVITE when the calling one refuses REFER."},
		{Name: "limits.calls", Set: setting.Number(&c.Limits.Calls), Check: count(1_000_000), Default: "20000",
			Doc:   "calls at once; more get 503",
			About: "Calls at once, and attempts per second (0: no limit)."},
		{Name: "limits.records", Set: setting.Number(&c.Limits.Records), Check: count(10_000_000), Default: "500000",
			Doc: "records of running and finished calls, some 600 bytes each (300 MB); beyond it, results are given up early and a log line says so",
			About: "Records of running and finished calls, some 600 bytes each, and the bytes of\n" +
				"their status lines."},
		{Name: "limits.record-bytes", Set: setting.Number(&c.Limits.RecordBytes), Check: recordBytes, Default: "268435456",
			Doc: "bytes that the status lines of all records take together, 56 for each beside its text; the texts of one record are 16 KiB at most. Beyond it, results are given up early and those of calls in progress keep 1 KiB"},
		{Name: "limits.connections", Set: setting.Number(&c.Limits.Connections), Check: count(1_000_000), Default: "10000",
			Doc:   "HTTP connections on each listener, a tenth of them for peers in `trusted`; the oldest idle one is closed for one more",
			About: "HTTP connections on each listener, and those of one address (0: a quarter)."},
		{Name: "limits.connections-per-address", Set: setting.Number(&c.Limits.ConnectionsPerAddress), Check: countOr(1_000_000, "for a quarter of limits.connections"),
			Absent: "a quarter of `limits.connections`", Show: "0",
			Doc: "those of one address; `reverse-proxies` may have all"},
		{Name: "limits.calls-per-user", Set: setting.Number(&c.Limits.CallsPerUser), Check: countOr(1_000_000, noLimit),
			Default: "100", After: "limits.call-rate",
			Doc:   "calls at once of one user who has given a PIN; more get 429; `0`: no limit. Neither this key nor the next holds for trusted peers, who may name any user",
			About: "The same for one user who gives a PIN. Trusted peers may name any user."},
		{Name: "limits.call-rate-per-user", Set: setting.Number(&c.Limits.CallRatePerUser), Check: countOr(1_000_000, noLimit),
			Default: "10", After: "limits.calls-per-user",
			Doc: "calls and transfers per second of such a user, as many and at least 10 at once; more get 429; `0`: no limit"},
		{Name: "limits.call-rate", Set: setting.Number(&c.Limits.CallRate), Check: countOr(1_000_000, noLimit), Default: "0", After: "limits.calls",
			Doc: "calls and transfers per second of all, likewise; more get 503; `0`: no limit"},
		{Name: "limits.requests-per-user", Set: setting.Number(&c.Limits.RequestsPerUser), Check: count(1_000_000), Default: "50", After: "limits.call-rate-per-user",
			Doc:   "requests to `/v1` per second of one user, or of one key, twice as many at once; more get 429; not for trusted peers",
			About: "Requests to /v1 per second of one user or key, and calls of one key."},
		{Name: "limits.call-rate-per-key", Set: setting.Number(&c.Limits.CallRatePerKey), Check: countOr(1_000_000, noLimit), Default: "100", After: "limits.requests-per-user",
			Doc: "calls per second that one API key asks for; more get 429; `0`: no limit"},
		{Name: "limits.message-delay", Set: setting.Duration(&c.Limits.MessageDelay), Check: orZero(between(time.Millisecond, time.Second)), Default: "10ms", After: "limits.call-rate",
			Doc:   "how long SIP messages may wait in their socket until they are handled; while they wait longer, a share of new calls gets 503, so that those in progress go on (see [limits.md](limits.md)); 1 ms to 1 s; `0`: none does",
			About: "How long SIP messages may wait before new calls are refused (0: never)."},
		{Name: "limits.call-rate-per-pair", Set: setting.Number(&c.Limits.CallRatePerPair), Check: countOr(1_000_000, noLimit),
			Default: "20", After: "limits.call-rate-per-key",
			Doc: "calls per second that come in from one caller (user and host of From) for one user, as many at once; more get 480 with Retry-After; `0`: no limit. It ends calls that go in a circle; a load generator that always calls the same needs more",
			About: "Calls per second that come in from one caller for one callee: a call that\n" +
				"goes in a circle ends by it. Load generators need more."},
		{Name: "limits.sip-rate-per-address", Set: setting.Number(&c.Limits.SIPRatePerAddress), Check: countOr(1_000_000, noLimit), Default: "20",
			Doc: "SIP requests per second outside of calls from one address (IPv6: /64), twice as many at once; more get 503, or nothing; `0`: no limit. SIP servers that calls went to and `trusted` are exempt, also from the next one and from `limits.sip-connections-per-address`",
			About: "SIP requests per second outside of calls, from one stranger's address and\n" +
				"from all of them; those of one phone in its call; connections of one address."},
		{Name: "limits.sip-rate", Set: setting.Number(&c.Limits.SIPRate), Check: countOr(1_000_000, noLimit), Default: "1000",
			Doc: "those from all strangers together; more get nothing; `0`: no limit"},
		{Name: "limits.dialog-rate", Set: setting.Number(&c.Limits.DialogRate), Check: countOr(1_000_000, noLimit), Default: "50",
			Doc: "SIP requests per second of one phone in a call; more get 500 with Retry-After; `0`: no limit"},
		{Name: "limits.sip-connections-per-address", Set: setting.Number(&c.Limits.SIPConnectionsPerAddress), Check: countOr(4096, noLimit), Default: "64",
			Doc: "SIP connections that one address has open, of 4,096 in all; `0`: no limit"},
		{Name: "log.level", Set: setting.Text(&c.Log.Level), Check: word("debug", "info", "warn", "error"), Default: "info",
			Doc: "`debug`, `info`, `warn` or `error`"},
		{Name: "log.format", Set: setting.Text(&c.Log.Format), Check: word("text", "json"), Default: "text",
			Doc: "`text` or `json`"},
		{Name: "log.calls", Set: setting.Truth(&c.Log.Calls), Default: "false",
			Doc: "`true`: a line for the end of every call, not only of those that came to nothing"},
		{Name: "drain", Set: setting.Duration(&c.Drain), Check: between(0, time.Hour), Default: "30s",
			Doc: "how long calls may go on after SIGTERM; 0 to 1 h",
			About: "\n" +
				"How long calls may go on after SIGTERM before they are hung up."},
		{Name: "metrics.listen", Set: setting.Text(&c.Metrics.Listen), Show: "\"127.0.0.1:9100\"",
			Doc: "where `/metrics`, `/healthz` and `/readyz` are, `127.0.0.1:9100` (see [monitoring.md](monitoring.md))"},
		{Name: "trace.endpoint", Set: setting.Text(&c.Trace.Endpoint), Absent: "none, or `OTEL_EXPORTER_OTLP_ENDPOINT`", Show: "\"http://192.0.2.7:4318\"",
			Doc: "OTLP receiver of calls' traces, `http://192.0.2.7:4318` (see [monitoring.md](monitoring.md))"},
		{Name: "trace.sample", Set: setting.Share(&c.Trace.Sample), Check: shareOf, Default: "1",
			Doc: "share of the calls that are traced, 0 to 1"},
		{Name: "trace.messages", Set: setting.Text(&c.Trace.Messages), Check: word("off", "failed", "all"), Default: "off",
			Doc: "whose SIP messages are kept in memory for `/v1/calls/{id}/messages`: those of `all` calls, of `failed` ones, or none (see [trace.md](trace.md))"},
		{Name: "trace.bytes", Set: setting.Number(&c.Trace.Bytes), Check: recordBytes, Default: "67108864",
			Doc: "what those may take; 1 MiB to 4 GiB. Beyond it the oldest go"},
		{Name: "dns.servers", Set: setting.Texts(&c.DNS.Servers), Absent: "the system's", Show: "[\"192.0.2.53:53\"]",
			Doc: "DNS servers to ask instead, `192.0.2.53` or `192.0.2.53:53`"},
	}
	rows = append(append(append(rows, c.API.rows()...), c.Events.rows()...), c.Phone.rows()...)
	rows = append(append(rows, c.CDR.rows()...), c.Console.rows()...)
	rows = append(append(rows, c.Dialout.rows()...), c.Dialin.rows()...)
	rows = append(rows, c.Dispatch.rows()...)
	return append(append(rows, c.Cluster.rows()...), c.Store.rows()...)
}

// sections are those that rows are in: how the example shows them.
var sections = map[string]section{
	"sip": {About: "\n"},
	"sip.tls": {Inline: true, About: "\n" +
		"TLS towards SIP servers and phones. Servers must prove by their certificate\n" +
		"to be the name that the URI has, and whoever connects shows one if client-auth\n" +
		"says request or require (default none). Default: a self-signed certificate\n" +
		"as for HTTP, and the system's authorities. min-version is 1.2."},
	"sip.health": {Inline: true, After: "sip.ws-path", About: "\n" +
		"Each server of the outbound proxies gets an OPTIONS so often (0: none). One\n" +
		"that does not answer, or answers 503, gets calls last until it answers. user is\n" +
		"the user in whose name they are sent, for servers that log strangers, such as\n" +
		"an Asterisk that knows users by their password. Default: nobody's."},
	"dial": {Inline: true, About: "How numbers are dialled here, that policies know them in every spelling:\n" +
		"country, prefixes for other countries, digits for an outside line, and the\n" +
		"length of the longest extension."},
	"call":   {About: "\n"},
	"refer":  {About: "\n"},
	"limits": {About: "\n"},
	"log": {Inline: true, About: "\n" +
		"level is debug, info, warn or error; format is text or json.\n" +
		"calls: a line for every call, not only for those that came to nothing."},
	"metrics": {Inline: true, About: "\n" +
		"Where Prometheus finds /metrics, and probes /healthz and /readyz. No PIN is\n" +
		"asked for: only the monitoring should reach it. Default: nowhere."},
	"trace": {Inline: true, About: "\n" +
		"OpenTelemetry: one trace for each call, sent to an OTLP receiver over HTTP.\n" +
		"sample is the share of the calls that are traced. Default: none."},
	"dns": {Inline: true, About: "\n" +
		"DNS servers to ask instead of the system's."},
	"api": {After: "phone", About: "\n" +
		"Version 1 of the JSON interface, at /v1: calls, and streams of what happens to\n" +
		"them. enabled: false switches it off."},
	"api.limits": {Inline: true, About: "Streams of events at once: all, those of one user or key, of one call; and\n" +
		"answers that wait for something to happen."},
	"events": {Inline: true, After: "api", About: "Where the events of calls are kept, for so long, and so many bytes.\n" +
		"The file, or the word memory; sync is normal, or full: survives a power cut."},
	"dialout": {About: "\n" +
		"Calls to telephones, for Nextcloud Talk and for clients that POST /dialout.\n" +
		"Default: neither."},
	"dialout.gateway": {Inline: true, About: "The way to the telephone network, and the number that phones are shown."},
	"dialout.limits": {Inline: true, About: "Calls at once: all, of one conversation, of one user over HTTP; and with audio\n" +
		"the conversations that have phones."},
	"dialout.audio": {Inline: true, After: "dialout.gateway", About: "Phones out of Talk's conversations are heard there and hear, in place of\n" +
		"room-target. address is what phones and the media server (Janus) send audio to\n" +
		"(default: that of the SIP socket), ice-address what Janus is told in its place\n" +
		"where a NAT is in between; ice-servers are only for where UDP to it is blocked.\n" +
		"codec: g722, pcmu or pcma. speakers: participants that phones hear at a time.\n" +
		"beep says who hears that a phone joins or leaves: phones, all or none.\n" +
		"media-allow and media-nat are as with phone.sip. Default: not there."},
	"dialin": {After: "dialout", About: "\n" +
		"Callers into Talk conversations, by targets talk: of dispatch. Telephones hear\n" +
		"and are heard by dialout.audio."},
	"dispatch": {About: "\n" +
		"Calls that come in: whom to ask about each. Default: all are answered 404."},
	"dispatch.audio": {Inline: true, After: "dispatch.agent", About: "Callers who are asked for a PIN hear prompts, and press digits as telephones send\n" +
		"them (RFC 4733). enabled: false has them on hold, and digits come by INFO only.\n" +
		"address is what they send audio to; like rtp-ports and the networks it is\n" +
		"by default that of phone.sip, or dialout.audio. language: en, de, tones in place\n" +
		"of words, or one of prompts, a folder with LANGUAGE/NAME.wav."},
	"cluster": {After: "console", About: "\n" +
		"Several nodes: each takes over the calls of another that dies. nats names the\n" +
		"servers that keep the calls' states: \"sipxrest store\" on three machines, or a\n" +
		"NATS of yours. Default: a single node. node must differ at each."},
	"cluster.tls": {Inline: true, About: "For servers tls://. Default: no certificate is shown, the system's authorities."},
	"store": {After: "cluster", About: "\n" +
		"What \"sipxrest store\" runs by; the service itself does not read it."},
	"store.tls": {Inline: true, About: "With ca nodes and other stores must show a certificate. Default: no TLS."},
	"phone": {After: "dispatch", About: "Calls over WebSocket between users of their own, at /api/v3.\n" +
		"\"sipxrest phone user add NAME\" makes one. Default: not there."},
	"cdr":       {After: "phone", About: "Records of calls that are over, at /v1/cdrs."},
	"phone.tls": {Inline: true},
	"phone.limits": {Inline: true, About: "WebSockets and calls at once; notification sockets and requests per second\n" +
		"of one user."},
	"phone.sip": {Inline: true, About: "Calls between users and SIP phones: \"sipxrest phone user sip NAME sip:201@DOMAIN\"\n" +
		"gives a user a phone, the dispatch target phone:NAME has phones reach him.\n" +
		"domain is that of our From; address is where phones send audio to (default:\n" +
		"that of the SIP socket); agent's SIP password answers challenges; guests are\n" +
		"phones that are no user's. Audio goes to private and public addresses, but\n" +
		"not to loopback, link-local or own ones unless media-allow names them;\n" +
		"media-nat are networks from which it may come though no phone has named them.\n" +
		"srtp is offered (encrypted as the phone offers it), required or off."},
}
