package sipflow

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"sipxrest/resolve"
)

// fullState has something of everything that a state can say.
func fullState() *callState {
	hop := resolve.Hop{Transport: "tls", Addr: netip.MustParseAddrPort("192.0.2.7:5061"), Name: "proxy.sipx.test"}
	key := Key{"200@sipx.test", "201@sipx.test", "203@sipx.test"}
	return &callState{
		class: classBridged, id: "call_01", key: Key{"200@sipx.test", "201@sipx.test", "202@sipx.test"}, flow: FlowInvite,
		step: stepTransferring, method: MethodInvite, known: true,
		legs: []keptLeg{
			{at: atUp, seat: seatCalling, id: 0x0102030405060708, cseq: 7, secure: true, to: hop, source: netip.MustParseAddr("192.0.2.7"),
				dialog: dialog{callID: "a@b", local: "<sip:us>;tag=1", remote: "<sip:201>;tag=2", target: "sip:201@192.0.2.9",
					routes: "Route: <sip:p;lr>\r\n",
					next:   "sip:p;lr", strict: true},
				callee: withUser,
				right:  right{Credentials{Username: "200"}, "sipx.test", true, secretServers{"200@sipx.test", ofGateway}},
				invite: &inviteState{branch: 9, via: "TLS 192.0.2.1:5061", uri: "sip:201@sipx.test", routes: "Route: <sip:p;lr>\r\n",
					to:  "<sip:201@sipx.test>",
					seq: 1, hop: hop, offered: []byte("v=0\r\n")},
				legMore: legMore{party: "201@sipx.test", tag: "2", userAgent: "Phone/1", early: "3", state: Confirmed, record: 1, remoteSeq: 12,
					updates: true, lines: 2, version: 3, told: []byte("v=0\r\no=-"), remote: []byte("v=0"), reached: []byte("v=0\r\n"),
					muted:   MuteSpeaking,
					holding: isHeld, parks: true, session: &sessionState{30 * time.Minute, true, time.Minute, 2 * time.Minute},
					refer: referState{true, 3, 2, 486, 503}}},
			{at: atAccepted, seat: seatCalled, id: 2, callee: withCaller, media: true,
				dialog: dialog{callID: "c", target: "sip:x", next: "sip:x"},
				caller: &callerState{invite: []byte("INVITE sip:x SIP/2.0\r\n\r\n"), network: "udp", source: hop.Addr, header: "Contact: <sip:us>\r\n",
					body: []byte("v=0"), trunk: "t", most: 30}},
		},
		callMore: callMore{
			at: time.UnixMilli(1796074245123), changing: true, agentName: "Alice", callingUser: "201@sipx.test", calledUser: "202@sipx.test",
			subject: "Hello", policy: "p", user: "200", peer: netip.MustParseAddr("2001:db8::1"), noFallback: true, forwarding: true, trusted: true,
			logsEnd: true, timeout: 20 * time.Second, maxTalk: time.Hour, ringLeft: 3 * time.Second, talkLeft: 50 * time.Minute, lasted: time.Minute,
			dial: &dialState{gateway: "sip:gw", gatewayDomain: "gw.test", realm: "gw", user: "trunk", number: "+49", caller: "+44", target: "sip:c",
				anonymous: true, chosen: true, last: true, targetTime: 30 * time.Second},
			converse: true, joined: true, wasUp: true, by: CalledParty, callIDs: []string{"x", "y"}, users: [2]string{"a@b", "c@d"},
			referredAgo: time.Second, notified: true, transfers: 2,
			transfer: &transferState{report: TransferReport{N: 2, Mode: TransferAttended, State: TransferRinging, Leaver: CallingParty,
				Place: CalledParty,
				To:    "203@sipx.test", WithCall: "call_02", RequestedBy: 1, Leg: 3}, key: &key, attended: true, consults: true, wasHeld: true,
				byPhone: true},
			record: &recordState{stage: StageConnected, linked: true, joined: true, count: 3, legs: []legRecordState{
				{report: LegReport{N: 1, Role: RoleCalling, Address: "201@sipx.test", CallID: "a@b", Hop: "udp:x", Contact: "sip:201", Via: "refer",
					EarlyMedia: true}, state: legAnswered, joining: true}}},
			door: "api", kept: []byte("record"), events: []byte("owed"),
		},
	}
}

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	for name, s := range map[string]*callState{"full": fullState(), "empty": {known: true}} {
		got, err := decodeState(s.encode(nil))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(got, s) {
			t.Errorf("%s: read\n%+v\nwritten\n%+v", name, got, s)
		}
	}
}

// Nothing of a struct may be forgotten when a field is added.
func TestAFullStateLeavesNoFieldOut(t *testing.T) {
	var empty func(path string, v reflect.Value, seen map[string]bool)
	empty = func(path string, v reflect.Value, seen map[string]bool) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				empty(path, v.Elem(), seen)
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() != reflect.Struct {
				seen[path] = seen[path] || v.Len() > 0
				return
			}
			for i := range v.Len() {
				empty(path+"[]", v.Index(i), seen)
			}
		case reflect.Struct:
			if v.Type().PkgPath() != reflect.TypeFor[callState]().PkgPath() {
				seen[path] = seen[path] || !v.IsZero()
				return
			}
			for i := range v.NumField() {
				empty(path+"."+v.Type().Field(i).Name, v.Field(i), seen)
			}
		default:
			seen[path] = seen[path] || !v.IsZero()
		}
	}
	seen := map[string]bool{}
	empty("", reflect.ValueOf(*fullState()), seen)
	// What is no part of a state: secrets, and what is told of one moment only.
	none := map[string]bool{".class": true, ".legs[].right.cred.Password": true, ".legs[].right.cred.HA1": true,
		".legs[].right.cred.HA1SHA256": true,
		".transfer.report.Cause":       true}
	for _, field := range []string{"Code", "Reason", "From", "To", "Tried", "By"} {
		none[".callMore.record.legs[].report."+field] = true
	}
	for path, set := range seen {
		if !set && !none[path] {
			t.Errorf("fullState leaves %s out", path)
		}
	}
}

func TestASecondPartOfALaterReleaseIsLeft(t *testing.T) {
	b := fullState().encode(nil)
	n := stateHead + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
	b[n]++
	s, err := decodeState(b)
	if err != nil || s.known || s.id != "call_01" || len(s.legs) != 2 || s.legs[0].invite.branch != 9 || s.legs[0].party != "" {
		t.Errorf("read %+v, %v", s, err)
	}
}

func TestASteadyStateIsTheSameAMomentLater(t *testing.T) {
	steady := func(s *callState) string {
		w := stateWriter{steady: true}
		w.state(s)
		return string(w.b)
	}
	a, b := fullState(), fullState()
	b.at = b.at.Add(time.Second)
	b.talkLeft -= time.Second
	b.lasted += time.Second
	b.legs[0].cseq++
	b.legs[0].remoteSeq++
	b.legs[0].session.due -= time.Second
	if steady(a) != steady(b) {
		t.Error("they differ")
	}
	if b.legs[0].muted = 0; steady(a) == steady(b) {
		t.Error("muting makes no difference")
	}
}

// Any bytes may be in a store that others use, too.
// What metrics count takeovers by is in the first part, of any release. All of it is listed.
func TestTheKindOfAState(t *testing.T) {
	s := fullState()
	s.flow, s.step = FlowInvite, stepTransferring
	state := s.encode(nil)
	later := slices.Clone(state)
	later[stateHead+int(state[1])<<16+int(state[2])<<8+int(state[3])]++ // the release
	for _, c := range []struct {
		state []byte
		want  [2]string
	}{{state, [2]string{"invite", "transferring"}}, {later, [2]string{"invite", "transferring"}}, {nil, [2]string{"unknown", "unknown"}},
		{state[:stateHead+3], [2]string{"unknown", "unknown"}}} {
		flow, step := StateKind(c.state)
		if got := [2]string{flow, step}; got != c.want || !slices.Contains(StateKinds(), got) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	f.Add(fullState().encode(nil))
	f.Add((&callState{}).encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil || !s.known {
			return
		}
		again, err := decodeState(s.encode(nil))
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Errorf("%x: read %+v, and again %+v, %v", b, s, again, err)
		}
	})
}

func TestAStateWithWrongBytesIsNoFault(t *testing.T) {
	whole := fullState().encode(nil)
	for n := range whole {
		decodeState(whole[:n]) //nolint:errcheck // it must not panic
	}
	for range 20_000 {
		b := append([]byte(nil), whole...)
		for range 1 + rand.IntN(4) {
			b[rand.IntN(len(b))] = byte(rand.Uint32())
		}
		decodeState(b) //nolint:errcheck // likewise
	}
}

func BenchmarkEncodeState(b *testing.B) {
	s := fullState()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = s.encode(buf[:0])
	}
	b.ReportMetric(float64(len(buf)), "B/state")
}
