package app

import (
	"slices"
	"strconv"
	"time"

	"sipxrest/internal/boundary"

	"sipxrest/callcontroller"
	"sipxrest/cmd/sipxrest/version"
	"sipxrest/internal/metrics"
	"sipxrest/internal/overload"
	"sipxrest/resolve"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// newMetrics returns the registry of everything that the service counts, once all
// features are open.
func (a *App) newMetrics() *metrics.Registry {
	b := version.Current()
	r := metrics.New(metrics.Build{Version: b.Version, Revision: b.Revision, GoVersion: b.GoVersion})
	r.AddHTTP(&a.requests)
	show(r, func() []string { return a.notReady() }, []family[[]string]{
		{metrics.Gauge("sipxrest_ready", "1 when /readyz answers 200, else 0."),
			func(why []string, to values) { to.set(oneIf(len(why) == 0)) }},
	})
	a.addHTTPMetrics(r)
	for _, f := range a.features {
		if f.metrics != nil {
			f.metrics(r)
		}
	}
	return r
}

// addOverloadMetrics shows how late messages are, and what is refused for it.
func (a *App) addOverloadMetrics() {
	if a.overload == nil {
		return
	}
	a.add(feature{name: "overload", stage: stageBase, metrics: func(r *metrics.Registry) {
		show(r, a.overload.State, []family[overload.State]{
			{metrics.Gauge("sipxrest_sip_delay_seconds", "How long SIP messages waited in their UDP socket lately (a mean over 10 ms)."),
				func(now overload.State, to values) { to.set(now.Delay.Seconds()) }},
			{metrics.Gauge("sipxrest_overload_refused_share", "The share of new calls that is refused now because of that, 0 to 1."),
				func(now overload.State, to values) { to.set(now.Share) }},
		})
	}})
}

// A family is a metric, and what tells its values of that which S was at a scrape.
type family[S any] struct {
	*metrics.Family
	tell func(now S, to values)
}

// show adds a table of metrics. read is called once for each scrape.
func show[S any](r *metrics.Registry, read func() S, table []family[S]) {
	families := make([]*metrics.Family, len(table))
	for i := range table {
		families[i] = table[i].Family
	}
	r.Add(families, func(v metrics.Values) {
		now := read()
		for i := range table {
			table[i].tell(now, values{v, table[i].Family})
		}
	})
}

// values takes the values of one family, with its labels in their order.
type values struct {
	to metrics.Values
	of *metrics.Family
}

func (v values) set(value float64, labels ...string) { v.to.Set(v.of, value, labels...) }
func (v values) gauge(n int, labels ...string)       { v.to.Set(v.of, float64(n), labels...) }
func (v values) count(n uint64, labels ...string)    { v.to.Count(v.of, n, labels...) }
func (v values) times(h sipflow.Histogram, l ...string) {
	v.to.Times(v.of, h.Bounds, h.Buckets, h.Sum, l...)
}

// each tells counts, by what they are of: a label after the others.
func each[L interface {
	~int | ~uint8
	String() string
}](to values, counts []uint64, labels ...string) {
	for i, n := range counts {
		to.count(n, append(labels[:len(labels):len(labels)], L(i).String())...)
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sipNow is what the switchboard counts, at a scrape.
type sipNow struct {
	*sipflow.Stats
	limit    int // of calls
	up, down int // servers of the outbound proxies
}

func (a *App) sipNow() *sipNow {
	now := &sipNow{Stats: a.sw.Stats(), limit: a.cfg.Limits.Calls}
	for _, h := range a.sw.Hops() {
		if h.Up {
			now.up++
		} else {
			now.down++
		}
	}
	return now
}

// addSIPMetrics shows what the switchboard counts.
func (a *App) addSIPMetrics(r *metrics.Registry) {
	show(r, a.sipNow, slices.Concat(callMetrics, messageMetrics, stateMetrics))
}

// callMetrics are about calls.
var callMetrics = []family[*sipNow]{
	{metrics.Gauge("sipxrest_calls_active", "Calls in progress."),
		func(s *sipNow, to values) { to.gauge(s.Calls.Active) }},
	{metrics.Gauge("sipxrest_calls_bridged", "Calls in progress whose two phones are joined by this service."),
		func(s *sipNow, to values) { to.gauge(s.Calls.Bridged) }},
	{metrics.Gauge("sipxrest_calls_limit", "Calls that there may be at once (limits.calls)."),
		func(s *sipNow, to values) { to.gauge(s.limit) }},
	{metrics.Gauge("sipxrest_draining", "1 while no new calls are taken because the service is shutting down, else 0."),
		func(s *sipNow, to values) { to.set(oneIf(s.Draining)) }},
	{metrics.Counter("sipxrest_calls_placed_total", "Calls placed, by what the client asked for (refer, invite, other), inbound: placed to us, talk: with a user over WebSocket.", "flow"),
		func(s *sipNow, to values) { each[sipflow.FlowKind](to, s.Calls.Placed[:]) }},
	{metrics.Counter("sipxrest_calls_total", "Calls ended, by what the client asked for and what they came to. connected: the parties were joined, or the calling phone took the REFER and rings the other.", "flow", "outcome"),
		func(s *sipNow, to values) {
			for f := range s.Calls.Ended {
				each[sipflow.CallOutcome](to, s.Calls.Ended[f][:], sipflow.FlowKind(f).String())
			}
		}},
	{metrics.Counter("sipxrest_calls_refused_total", "Calls that were not placed, by reason. unreachable: no next hop could be looked up; where none takes the call it is one of sipxrest_calls_total.", "reason"),
		func(s *sipNow, to values) { each[sipflow.Refusal](to, s.Refused[:]) }},
	{metrics.Seconds("sipxrest_call_answer_seconds", "Time from a client's request to the calling phone's answer, in seconds: how long it rings, mostly.", "flow"),
		func(s *sipNow, to values) {
			for f, h := range s.Calls.Answered {
				to.times(h, sipflow.FlowKind(f).String())
			}
		}},
	{metrics.Seconds("sipxrest_call_setup_seconds", "Time from a client's request until the parties are joined, in seconds; by REFER until the calling phone says that the other one rings, or its outcome (refer.hangup-on).", "flow"),
		func(s *sipNow, to values) {
			for f, h := range s.Calls.Connected {
				to.times(h, sipflow.FlowKind(f).String())
			}
		}},
}

// messageMetrics are about messages and transactions.
var messageMetrics = []family[*sipNow]{
	{metrics.Counter("sipxrest_sip_messages_total", "SIP messages over the sockets, repeats included, by transport (udp, tcp, tls, ws, wss) and direction (in, out).", "transport", "direction"),
		func(s *sipNow, to values) {
			for i, m := range s.Messages {
				to.count(m.In, sipflow.Transport(i).String(), "in")
				to.count(m.Out, sipflow.Transport(i).String(), "out")
			}
		}},
	{metrics.Counter("sipxrest_sip_malformed_total", "SIP messages received that could not be read, by transport.", "transport"),
		func(s *sipNow, to values) {
			for i, m := range s.Messages {
				to.count(m.Malformed, sipflow.Transport(i).String())
			}
		}},
	{metrics.Counter("sipxrest_sip_send_failures_total", "SIP messages that could not be handed to the kernel, by transport.", "transport"),
		func(s *sipNow, to values) {
			for i, m := range s.Messages {
				to.count(m.Failed, sipflow.Transport(i).String())
			}
		}},
	{metrics.Counter("sipxrest_sip_requests_received_total", "SIP requests received, repeats included, by method (other: none that is used here).", "method"),
		func(s *sipNow, to values) { each[sipflow.CountedMethod](to, s.Requests[:]) }},
	{metrics.Counter("sipxrest_sip_responses_total", "SIP responses, by direction (in: repeats included; out: without) and class (1xx to 6xx).", "direction", "class"),
		func(s *sipNow, to values) {
			for i := range s.Responses {
				to.count(s.Responses[i], "in", classOf(i))
				to.count(s.Answers[i], "out", classOf(i))
			}
		}},
	{metrics.Counter("sipxrest_sip_stray_total", "SIP messages that belong to nothing that is known here: a response to no transaction (late repeats are among them), a request within no dialog.", "kind"),
		func(s *sipNow, to values) { each[sipflow.Stray](to, s.Strays[:]) }},
	{metrics.Counter("sipxrest_sip_transactions_started_total", "SIP client transactions, by method.", "method"),
		func(s *sipNow, to values) { each[sipflow.CountedMethod](to, s.ClientStarted[:]) }},
	{metrics.Counter("sipxrest_sip_requests_relayed_total", "SIP requests of phones that were relayed to the other phone of their call."),
		func(s *sipNow, to values) { to.count(s.ServerStarted) }},
	{metrics.Gauge("sipxrest_sip_transactions", "SIP transactions now, by side (client, server).", "side"),
		func(s *sipNow, to values) {
			to.gauge(s.Clients, "client")
			to.gauge(s.Servers, "server")
		}},
	{metrics.Counter("sipxrest_sip_retransmissions_total", "SIP messages sent again (out) or received again (in): a sign of loss.", "direction"),
		func(s *sipNow, to values) {
			to.count(s.Repeated, "out")
			to.count(s.Repeats, "in")
		}},
	{metrics.Counter("sipxrest_sip_timeouts_total", "SIP requests that got no final response in 32 s (request), and answers that were never acknowledged (ack).", "kind"),
		func(s *sipNow, to values) {
			to.count(s.Timeouts, "request")
			to.count(s.Unacked, "ack")
		}},
	{metrics.Counter("sipxrest_sip_faults_total", "Faults of this program, each of which ended the transaction, message or connection that it was about, and nothing else: please report the log line \"internal fault\"."),
		func(s *sipNow, to values) { to.count(s.Faults + boundary.Count()) }},
	{metrics.Counter("sipxrest_sip_inbound_total", "INVITEs that would begin a call, once each: admitted; refused by the rules; challenged (401); denied, for the credentials are wrong; unfit, no call can be made of it or there are too many; merged, it came by several ways; replaced, it took the place of a phone in a call.", "result"),
		func(s *sipNow, to values) { each[sipflow.InboundKind](to, s.Inbound[:]) }},
	{metrics.Counter("sipxrest_sip_challenges_total", "SIP digest challenges (401, 407): answered; denied, for the secret is refused or none fits; foreign, from who gets no credentials.", "verdict"),
		func(s *sipNow, to values) { each[sipflow.Verdict](to, s.Challenges[:]) }},
	{metrics.Counter("sipxrest_sip_forks_hung_up_total", "Answers of further phones, or too late, that were hung up."),
		func(s *sipNow, to values) { to.count(s.Forks) }},
	{metrics.Counter("sipxrest_limited_total", "What was refused because of a limit, by limit.", "limit"),
		func(s *sipNow, to values) { each[sipflow.Limit](to, s.Limited[:]) }},
}

// classOf names a class of responses, 1 to 6.
func classOf(i int) string {
	if i == 0 {
		return "other"
	}
	return strconv.Itoa(i) + "xx"
}

// stateMetrics are about what the switchboard holds now.
var stateMetrics = []family[*sipNow]{
	{metrics.Gauge("sipxrest_sip_legs", "Calls to phones, set up or being set up: one or two per call."),
		func(s *sipNow, to values) { to.gauge(s.Legs) }},
	{metrics.Gauge("sipxrest_inbox_events", "Events that wait for calls to take them, all together."),
		func(s *sipNow, to values) { to.gauge(s.Inbox) }},
	{metrics.Gauge("sipxrest_inbox_events_max", "Events that wait for the call that has most of them (64 is full)."),
		func(s *sipNow, to values) { to.gauge(s.InboxMost) }},
	{metrics.Counter("sipxrest_inbox_full_total", "SIP messages dropped, or answered 500, because their call did not keep up."),
		func(s *sipNow, to values) { to.count(s.InboxFull) }},
	{metrics.Gauge("sipxrest_sip_husks", "Calls that are over whose phone may still report on its REFER."),
		func(s *sipNow, to values) { to.gauge(s.Husks) }},
	{metrics.Gauge("sipxrest_sip_ended_dialogs", "Dialogs that are over and remembered for 32 s, to answer what is late."),
		func(s *sipNow, to values) { to.gauge(s.EndedDialogs) }},
	{metrics.Gauge("sipxrest_sip_streams", "SIP connections open, by who opened them (ours, peers).", "side"),
		func(s *sipNow, to values) {
			to.gauge(s.StreamsOurs, "ours")
			to.gauge(s.StreamsPeers, "peers")
		}},
	{metrics.Gauge("sipxrest_sip_hops", "Servers of the outbound proxies by what their last check found (up, down); none without checks (sip.health.interval).", "state"),
		func(s *sipNow, to values) {
			to.gauge(s.up, "up")
			to.gauge(s.down, "down")
		}},
	{metrics.Gauge("sipxrest_sip_hops_avoided", "SIP servers that failed within the last 30 s and are tried last."),
		func(s *sipNow, to values) { to.gauge(s.Avoided) }},
}

// addGateMetrics shows who was not let in.
func (a *App) addGateMetrics(r *metrics.Registry) {
	show(r, a.gate.Stats, []family[restauth.Stats]{
		{metrics.Counter("sipxrest_auth_failures_total", "HTTP requests that were not let in, by reason. no_credentials is how Digest begins.", "reason"),
			func(s restauth.Stats, to values) { each[restauth.Failure](to, s.Failures[:]) }},
		{metrics.Gauge("sipxrest_nonces", "Digest nonces remembered because they were used, at most 131,072."),
			func(s restauth.Stats, to values) { to.gauge(s.Nonces) }},
	})
}

func (a *App) addUserMetrics(r *metrics.Registry) {
	show(r, a.users.Len, []family[int]{
		{metrics.Gauge("sipxrest_users", "Users known."),
			func(s int, to values) { to.gauge(s) }},
	})
	show(r, func() int { _, down := a.users.Databases(); return down }, []family[int]{
		{metrics.Gauge("sipxrest_users_databases_down", "Databases of users that cannot be read now; the users read last go on."),
			func(down int, to values) { to.gauge(down) }},
	})
}

// addRecordMetrics shows what is kept of calls.
func (a *App) addRecordMetrics(r *metrics.Registry) {
	show(r, a.controller.Stats, []family[callcontroller.Stats]{
		{metrics.Gauge("sipxrest_records", "Records of calls, running and finished."),
			func(s callcontroller.Stats, to values) { to.gauge(s.Records) }},
		{metrics.Gauge("sipxrest_records_limit", "Records that there may be (limits.records)."),
			func(s callcontroller.Stats, to values) { to.gauge(a.cfg.Limits.Records) }},
		{metrics.Gauge("sipxrest_records_bytes", "Bytes of the status lines in all records (limits.record-bytes)."),
			func(s callcontroller.Stats, to values) { to.gauge(int(s.Bytes)) }},
		{metrics.Counter("sipxrest_records_given_up_total", "Records of finished calls that were given up early because of limits.records or limits.record-bytes."),
			func(s callcontroller.Stats, to values) { to.count(s.GivenUp) }},
	})
}

// connections are those of all listeners of clients.
type connections struct {
	open               int
	refused, displaced uint64
}

func (a *App) connections() (all connections) {
	for _, l := range a.listeners {
		open, refused, displaced := l.Stats()
		all.open, all.refused, all.displaced = all.open+open, all.refused+refused, all.displaced+displaced
	}
	return all
}

func (a *App) addHTTPMetrics(r *metrics.Registry) {
	show(r, a.connections, []family[connections]{
		{metrics.Gauge("sipxrest_http_connections", "HTTP connections open on all listeners."),
			func(s connections, to values) { to.gauge(s.open) }},
		{metrics.Counter("sipxrest_http_connections_refused_total", "HTTP connections closed at once because of limits.connections or limits.connections-per-address."),
			func(s connections, to values) { to.count(s.refused) }},
		{metrics.Counter("sipxrest_http_connections_displaced_total", "HTTP connections closed because nothing was asked over them, or nothing of the answer read, and another one needed the place."),
			func(s connections, to values) { to.count(s.displaced) }},
	})
}

func (a *App) addDNSMetrics(r *metrics.Registry) {
	show(r, a.resolver.Stats, []family[resolve.Stats]{
		{metrics.Counter("sipxrest_dns_lookups_total", "Names asked of the DNS servers; what the cache knew is not counted."),
			func(s resolve.Stats, to values) { to.count(s.Lookups) }},
		{metrics.Counter("sipxrest_dns_failures_total", "DNS look-ups that no server answered."),
			func(s resolve.Stats, to values) { to.count(s.Failures) }},
		{metrics.Gauge("sipxrest_dns_cache_entries", "Record sets in the DNS cache."),
			func(s resolve.Stats, to values) { to.gauge(s.Cached) }},
	})
}

// firstExpiry is when the first of the certificates expires; the zero time if
// there are none.
func (a *App) firstExpiry() (first time.Time) {
	for _, c := range a.certificates {
		if t := c.Expires(); first.IsZero() || t.Before(first) {
			first = t
		}
	}
	return first
}

func (a *App) addCertificateMetrics(r *metrics.Registry) {
	show(r, a.firstExpiry, []family[time.Time]{
		{metrics.Gauge("sipxrest_tls_certificate_expiry_timestamp_seconds", "When the first of the HTTP listeners' certificates expires, in seconds since 1970; not there without TLS."),
			func(s time.Time, to values) {
				if !s.IsZero() {
					to.set(float64(s.Unix()))
				}
			}},
	})
}
