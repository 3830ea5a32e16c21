package app

import (
	"strconv"
	"time"

	"sipxrest/cmd/sipxrest/version"
	"sipxrest/internal/metrics"
	"sipxrest/sipflow"
)

// newMetrics answers the registry of everything that the service counts.
func (a *App) newMetrics() *metrics.Registry {
	b := version.Current()
	r := metrics.New(metrics.Build{Version: b.Version, Revision: b.Revision, GoVersion: b.GoVersion})
	r.AddHTTP(&a.requests)
	a.addSIPMetrics(r)
	a.addOtherMetrics(r)
	a.addDialoutMetrics(r)
	a.addDispatchMetrics(r)
	a.addPhoneMetrics(r)
	return r
}

// addSIPMetrics shows what the switchboard counts.
func (a *App) addSIPMetrics(r *metrics.Registry) {
	var all []*metrics.Family
	add := func(f *metrics.Family) *metrics.Family { all = append(all, f); return f }
	counter := func(name, help string, labels ...string) *metrics.Family {
		return add(metrics.Counter(name, help, labels...))
	}
	gauge := func(name, help string, labels ...string) *metrics.Family {
		return add(metrics.Gauge(name, help, labels...))
	}
	seconds := func(name, help string, labels ...string) *metrics.Family {
		return add(metrics.Seconds(name, help, labels...))
	}
	var (
		active    = gauge("sipxrest_calls_active", "Calls in progress.")
		bridged   = gauge("sipxrest_calls_bridged", "Calls in progress whose two phones are joined by this service.")
		limit     = gauge("sipxrest_calls_limit", "Calls that there may be at once (limits.calls).")
		draining  = gauge("sipxrest_draining", "1 while no new calls are taken because the service is shutting down, else 0.")
		placed    = counter("sipxrest_calls_placed_total", "Calls placed, by what the client asked for (refer, invite, other), inbound: placed to us, talk: with a user over WebSocket.", "flow")
		ended     = counter("sipxrest_calls_total", "Calls ended, by what the client asked for and what they came to. connected: the parties were joined, or the calling phone took the REFER and rings the other.", "flow", "outcome")
		refused   = counter("sipxrest_calls_refused_total", "Calls that were not placed, by reason.", "reason")
		answered  = seconds("sipxrest_call_answer_seconds", "Time from a client's request to the calling phone's answer, in seconds: how long it rings, mostly.", "flow")
		connected = seconds("sipxrest_call_setup_seconds", "Time from a client's request until the parties are joined, in seconds; by REFER until the calling phone says that the other one rings, or its outcome (refer.hangup-on).", "flow")

		messages  = counter("sipxrest_sip_messages_total", "SIP messages over the sockets, repeats included, by transport (udp, tcp, tls, ws, wss) and direction (in, out).", "transport", "direction")
		malformed = counter("sipxrest_sip_malformed_total", "SIP messages received that could not be read, by transport.", "transport")
		unsent    = counter("sipxrest_sip_send_failures_total", "SIP messages that could not be handed to the kernel, by transport.", "transport")
		requests  = counter("sipxrest_sip_requests_received_total", "SIP requests received, repeats included, by method (other: none that is used here).", "method")
		responses = counter("sipxrest_sip_responses_total", "SIP responses, by direction (in: repeats included; out: without) and class (1xx to 6xx).", "direction", "class")
		strays    = counter("sipxrest_sip_stray_total", "SIP messages that belong to nothing that is known here: a response to no transaction (late repeats are among them), a request within no dialog.", "kind")

		started    = counter("sipxrest_sip_transactions_started_total", "SIP client transactions, by method.", "method")
		relayed    = counter("sipxrest_sip_requests_relayed_total", "SIP requests of phones that were relayed to the other phone of their call.")
		live       = gauge("sipxrest_sip_transactions", "SIP transactions now, by side (client, server).", "side")
		repeats    = counter("sipxrest_sip_retransmissions_total", "SIP messages sent again (out) or received again (in): a sign of loss.", "direction")
		timeouts   = counter("sipxrest_sip_timeouts_total", "SIP requests that got no final response in 32 s (request), and answers that were never acknowledged (ack).", "kind")
		faults     = counter("sipxrest_sip_faults_total", "Faults of this program, each of which ended the transaction, message or connection that it was about, and nothing else: please report the log line \"internal fault\".")
		inbound    = counter("sipxrest_sip_inbound_total", "INVITEs that would begin a call, once each: admitted; refused by the rules; challenged (401); denied, for the credentials are wrong; unfit, no call can be made of it or there are too many; merged, it came by several ways.", "result")
		challenges = counter("sipxrest_sip_challenges_total", "SIP digest challenges (401, 407): answered; denied, for the secret is refused or none fits; foreign, from who gets no credentials.", "verdict")
		forks      = counter("sipxrest_sip_forks_hung_up_total", "Answers of further phones, or too late, that were hung up.")
		limited    = counter("sipxrest_limited_total", "What was refused because of a limit, by limit.", "limit")

		legs    = gauge("sipxrest_sip_legs", "Calls to phones, set up or being set up: one or two per call.")
		inbox   = gauge("sipxrest_inbox_events", "Events that wait for calls to take them, all together.")
		most    = gauge("sipxrest_inbox_events_max", "Events that wait for the call that has most of them (64 is full).")
		full    = counter("sipxrest_inbox_full_total", "SIP messages dropped, or answered 500, because their call did not keep up.")
		husks   = gauge("sipxrest_sip_husks", "Calls that are over whose phone may still report on its REFER.")
		over    = gauge("sipxrest_sip_ended_dialogs", "Dialogs that are over and remembered for 32 s, to answer what is late.")
		streams = gauge("sipxrest_sip_streams", "SIP connections open, by who opened them (ours, peers).", "side")
		hops    = gauge("sipxrest_sip_hops", "Servers of the outbound proxies by what their last check found (up, down); none without checks (sip.health.interval).", "state")
		avoided = gauge("sipxrest_sip_hops_avoided", "SIP servers that failed within the last 30 s and are tried last.")
	)
	r.Add(all, func(v metrics.Values) {
		s := a.sw.Stats()
		v.Set(active, float64(s.Calls.Active))
		v.Set(bridged, float64(s.Calls.Bridged))
		v.Set(limit, float64(a.cfg.Limits.Calls))
		v.Set(draining, oneIf(s.Draining))
		for f, n := range s.Calls.Placed {
			flow := sipflow.FlowKind(f).String()
			v.Count(placed, n, flow)
			for o, n := range s.Calls.Ended[f] {
				v.Count(ended, n, flow, sipflow.CallOutcome(o).String())
			}
			for family, h := range map[*metrics.Family]sipflow.Histogram{answered: s.Calls.Answered[f], connected: s.Calls.Connected[f]} {
				v.Times(family, h.Bounds, h.Buckets, h.Sum, flow)
			}
		}
		for i, n := range s.Refused {
			v.Count(refused, n, sipflow.Refusal(i).String())
		}
		for i, m := range s.Messages {
			transport := sipflow.Transport(i).String()
			v.Count(messages, m.In, transport, "in")
			v.Count(messages, m.Out, transport, "out")
			v.Count(malformed, m.Malformed, transport)
			v.Count(unsent, m.Failed, transport)
		}
		for i, n := range s.Requests {
			v.Count(requests, n, sipflow.CountedMethod(i).String())
			v.Count(started, s.ClientStarted[i], sipflow.CountedMethod(i).String())
		}
		for i := range s.Responses {
			class := strconv.Itoa(i) + "xx"
			if i == 0 {
				class = "other"
			}
			v.Count(responses, s.Responses[i], "in", class)
			v.Count(responses, s.Answers[i], "out", class)
		}
		for i, n := range s.Strays {
			v.Count(strays, n, sipflow.Stray(i).String())
		}
		for i, n := range s.Inbound {
			v.Count(inbound, n, sipflow.InboundKind(i).String())
		}
		for i, n := range s.Challenges {
			v.Count(challenges, n, sipflow.Verdict(i).String())
		}
		for i, n := range s.Limited {
			v.Count(limited, n, sipflow.Limit(i).String())
		}
		v.Count(relayed, s.ServerStarted)
		v.Set(live, float64(s.Clients), "client")
		v.Set(live, float64(s.Servers), "server")
		v.Count(repeats, s.Repeated, "out")
		v.Count(repeats, s.Repeats, "in")
		v.Count(timeouts, s.Timeouts, "request")
		v.Count(timeouts, s.Unacked, "ack")
		v.Count(faults, s.Faults)
		v.Count(forks, s.Forks)
		v.Set(legs, float64(s.Legs))
		v.Set(inbox, float64(s.Inbox))
		v.Set(most, float64(s.InboxMost))
		v.Count(full, s.InboxFull)
		v.Set(husks, float64(s.Husks))
		v.Set(over, float64(s.EndedDialogs))
		v.Set(streams, float64(s.StreamsOurs), "ours")
		v.Set(streams, float64(s.StreamsPeers), "peers")
		v.Set(avoided, float64(s.Avoided))
		up, down := 0, 0
		for _, h := range a.sw.Hops() {
			if h.Up {
				up++
			} else {
				down++
			}
		}
		v.Set(hops, float64(up), "up")
		v.Set(hops, float64(down), "down")
	})
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// addOtherMetrics shows what is counted around the switchboard.
func (a *App) addOtherMetrics(r *metrics.Registry) {
	var (
		auth      = metrics.Counter("sipxrest_auth_failures_total", "HTTP requests that were not let in, by reason. no_credentials is how Digest begins.", "reason")
		nonces    = metrics.Gauge("sipxrest_nonces", "Digest nonces remembered because they were used, at most 131,072.")
		users     = metrics.Gauge("sipxrest_users", "Users known.")
		records   = metrics.Gauge("sipxrest_records", "Records of calls, running and finished.")
		most      = metrics.Gauge("sipxrest_records_limit", "Records that there may be (limits.records).")
		bytes     = metrics.Gauge("sipxrest_records_bytes", "Bytes of the status lines in all records (limits.record-bytes).")
		givenUp   = metrics.Counter("sipxrest_records_given_up_total", "Records of finished calls that were given up early because of limits.records or limits.record-bytes.")
		conns     = metrics.Gauge("sipxrest_http_connections", "HTTP connections open on all listeners.")
		refused   = metrics.Counter("sipxrest_http_connections_refused_total", "HTTP connections closed at once because of limits.connections or limits.connections-per-address.")
		displaced = metrics.Counter("sipxrest_http_connections_displaced_total", "HTTP connections closed because nothing was asked over them, or nothing of the answer read, and another one needed the place.")
		lookups   = metrics.Counter("sipxrest_dns_lookups_total", "Names asked of the DNS servers; what the cache knew is not counted.")
		failures  = metrics.Counter("sipxrest_dns_failures_total", "DNS look-ups that no server answered.")
		cached    = metrics.Gauge("sipxrest_dns_cache_entries", "Record sets in the DNS cache.")
		expiry    = metrics.Gauge("sipxrest_tls_certificate_expiry_timestamp_seconds", "When the first of the HTTP listeners' certificates expires, in seconds since 1970; not there without TLS.")
		ready     = metrics.Gauge("sipxrest_ready", "1 when /readyz answers 200, else 0.")
	)
	r.Add([]*metrics.Family{auth, nonces, users, records, most, bytes, givenUp, conns, refused, displaced, lookups, failures, cached, expiry, ready}, func(v metrics.Values) {
		gate := a.gate.Stats()
		for i, n := range gate.Failures {
			v.Count(auth, n, failureName(i))
		}
		v.Set(nonces, float64(gate.Nonces))
		v.Set(users, float64(a.users.Len()))
		kept := a.controller.Stats()
		v.Set(records, float64(kept.Records))
		v.Set(most, float64(a.cfg.Limits.Records))
		v.Set(bytes, float64(kept.Bytes))
		v.Count(givenUp, kept.GivenUp)
		var open int
		var refusedNow, displacedNow uint64
		for _, l := range a.listeners {
			n, r, d := l.Stats()
			open, refusedNow, displacedNow = open+n, refusedNow+r, displacedNow+d
		}
		v.Set(conns, float64(open))
		v.Count(refused, refusedNow)
		v.Count(displaced, displacedNow)
		dns := a.resolver.Stats()
		v.Count(lookups, dns.Lookups)
		v.Count(failures, dns.Failures)
		v.Set(cached, float64(dns.Cached))
		var first time.Time
		for _, c := range a.certificates {
			if t := c.Expires(); first.IsZero() || t.Before(first) {
				first = t
			}
		}
		if !first.IsZero() {
			v.Set(expiry, float64(first.Unix()))
		}
		v.Set(ready, oneIf(len(a.notReady()) == 0))
	})
}
