package api

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/event"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// An endCase is a call of 201 with 202 that ends in a certain way.
type endCase struct {
	name   string
	reason string // that it must end for
	flow   string // "" is invite
	more   string // members of the body
	setup  setup
	during func(t *testing.T, cr *callRig, id string) // what happens to it
}

func calling(s siptest.Script) setup { return setup{phones: map[string]siptest.Script{"201": s}} }
func called(s siptest.Script) setup  { return setup{phones: map[string]siptest.Script{"202": s}} }

func reports(list ...siptest.Notify) siptest.Script {
	return siptest.Script{Refer: siptest.Refer{Notify: list}}
}

// refusals are final responses, and what a call that gets one ends for.
var refusals = []struct {
	code    int
	reason  string
	unasked bool // before it rings
}{
	{486, "busy", false}, {600, "busy", false}, {486, "busy", true}, {603, "declined", false}, {403, "declined", false}, {403, "forbidden",
		true},
	{480, "unavailable", true}, {480, "no_answer", false}, {408, "no_answer", false}, {404, "not_found", true}, {604, "not_found", true},
	{410, "gone", true}, {484, "number_incomplete", true}, {488, "not_acceptable", false}, {415, "not_acceptable", false}, {606,
		"not_acceptable", false},
	{482, "loop", true}, {483, "loop", true}, {500, "server_error", true}, {504, "server_error", true}, {503, "server_busy", true}, {401,
		"auth_failed", true},
	{407, "auth_failed", true},
}

// endCases provoke each reason that a call between two phones can end for.
func endCases() (all []endCase) {
	for _, r := range refusals {
		script, how := siptest.Script{Status: r.code}, " after ringing"
		if r.unasked {
			script.Ringing, how = -1, " at once"
		}
		if r.code == 401 || r.code == 407 {
			script = siptest.Script{Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"INVITE"}, Status: r.code, Realm: testDomain,
				Always: true}}
		}
		code := string(rune('0'+r.code/100)) + string(rune('0'+r.code/10%10)) + string(rune('0'+r.code%10))
		all = append(all, endCase{name: "calling " + code + how, reason: r.reason, setup: calling(script)},
			endCase{name: "called " + code + how, reason: r.reason, setup: called(script)})
		if r.code != 401 && r.code != 407 && !r.unasked {
			all = append(all, endCase{name: "refer, called " + code, reason: r.reason, flow: "refer",
				setup: calling(reports(siptest.Notify{Line: "SIP/2.0 100 Trying"},
					siptest.Notify{After: 2 * time.Second, Line: "SIP/2.0 180 Ringing"}, siptest.Notify{After: 3 * time.Second, Line: "SIP/2.0 " + code +
						" No", State: "terminated;reason=noresource"}))})
		}
	}
	hangUp := func(after time.Duration) func(*testing.T, *callRig, string) {
		return func(t *testing.T, cr *callRig, id string) {
			time.Sleep(after)
			cr.ask("DELETE", "/v1/calls/"+id, as201, header("X-Request-Id", "req-of-the-end"))
		}
	}
	refers := []siptest.Action{{After: 5 * time.Second, Method: "REFER", Header: []sip.Header{
		sip.NewHeader("Refer-To", "<sip:203@"+testDomain+">"), sip.NewHeader("Contact", "<sip:201@"+phoneAddr["201"]+">")}}}
	post := func(path, text string) func(*testing.T, *callRig, string) {
		return func(t *testing.T, cr *callRig, id string) {
			time.Sleep(8 * time.Second)
			cr.ask("POST", "/v1/calls/"+id+path, as201, body(text))
		}
	}
	calledOff := func(t *testing.T, cr *callRig, id string) {
		post("/transfers", `{"mode":"attended","to":"203"}`)(t, cr, id)
		time.Sleep(5 * time.Second)
		cr.do(200, "DELETE", "/v1/calls/"+id+"/transfers/t1", "")
	}
	third := func(s siptest.Script) setup {
		return setup{phones: map[string]siptest.Script{"202": {HangUpAfter: 2 * time.Minute}, "203": s}}
	}
	return append(all,
		endCase{name: "calling passes called on", reason: "transferred_away",
			setup: calling(siptest.Script{Do: refers, HangUpAfter: 15 * time.Second})},
		endCase{name: "calling passes called on, who hangs up first", reason: "transferred_away",
			setup: setup{phones: map[string]siptest.Script{"201": {Do: refers}, "202": {HangUpAfter: 15 * time.Second}}}},
		endCase{name: "a transfer to 203", reason: "hung_up", setup: third(siptest.Script{}), during: post("/transfers", `{"to":"203"}`)},
		endCase{name: "a transfer to 203, who is busy", reason: "hung_up", setup: third(siptest.Script{Status: 486}),
			during: post("/transfers", `{"to":"203"}`)},
		endCase{name: "a transfer to 203, who does not answer", reason: "hung_up", more: `,"timeout_ms":30000`,
			setup: third(siptest.Script{NeverAnswer: true}), during: post("/transfers", `{"to":"203"}`)},
		endCase{name: "a consultation that is called off", reason: "hung_up", setup: third(siptest.Script{}), during: calledOff},
		endCase{name: "a consultation that is called off while it rings", reason: "hung_up", setup: third(siptest.Script{NeverAnswer: true}),
			during: calledOff},
		endCase{name: "called is redirected", reason: "hung_up",
			setup:  setup{phones: map[string]siptest.Script{"202": {NeverAnswer: true}, "203": {HangUpAfter: 10 * time.Second}}},
			during: post("/actions/redirect", `{"to":"203"}`)},
		endCase{name: "goes on in another call", reason: "merged", during: func(t *testing.T, cr *callRig, id string) {
			cr.until(id, event.Connected)
			other := cr.call(`{"calling":"201","called":"203"}`)
			cr.until(other, event.Connected)
			cr.do(202, "POST", "/v1/calls/"+other+"/transfers", `{"mode":"attended","with_call":"`+id+`"}`,
				header("X-Request-Id", "req-of-the-end"))
			cr.ended(id)
			cr.do(200, "DELETE", "/v1/calls/"+other, "")
		}},
		endCase{name: "calling does not answer", reason: "no_answer", more: `,"timeout_ms":30000`,
			setup: calling(siptest.Script{NeverAnswer: true})},
		endCase{name: "called does not answer", reason: "no_answer", more: `,"timeout_ms":30000`,
			setup: called(siptest.Script{NeverAnswer: true})},
		endCase{name: "calling is silent", reason: "unreachable", setup: calling(siptest.Script{Silent: true})},
		endCase{name: "calling has no phone", reason: "unavailable", setup: setup{without: []string{"201"}}},
		endCase{name: "called has no phone", reason: "unavailable", setup: setup{without: []string{"202"}}},
		endCase{name: "calling hangs up in talk", reason: "hung_up", setup: calling(siptest.Script{HangUpAfter: 10 * time.Second})},
		endCase{name: "called hangs up in talk", reason: "hung_up", setup: called(siptest.Script{HangUpAfter: 10 * time.Second})},
		endCase{name: "calling hangs up while called rings", reason: "caller_gave_up",
			setup: setup{phones: map[string]siptest.Script{"201": {HangUpAfter: 5 * time.Second}, "202": {NeverAnswer: true}}}},
		endCase{name: "client hangs up while calling rings", reason: "client_hung_up", setup: calling(siptest.Script{NeverAnswer: true}),
			during: hangUp(3 * time.Second)},
		endCase{name: "client hangs up while called rings", reason: "client_hung_up", setup: called(siptest.Script{NeverAnswer: true}),
			during: hangUp(5 * time.Second)},
		endCase{name: "client hangs up in talk", reason: "client_hung_up", during: hangUp(8 * time.Second)},
		endCase{name: "a new call of the same parties", reason: "replaced", during: func(t *testing.T, cr *callRig, id string) {
			cr.until(id, event.Connected)
			next := cr.call(`{"calling":"201","called":"202","on_conflict":"replace"}`)
			cr.ended(id)
			cr.do(200, "DELETE", "/v1/calls/"+next, "")
		}},
		endCase{name: "time limit", reason: "time_limit", more: `,"max_duration_ms":20000`},
		endCase{name: "the service stops", reason: "draining", during: func(t *testing.T, cr *callRig, id string) {
			cr.until(id, event.Connected)
			cr.stopSIP()
		}},
		endCase{name: "the phone of called is lost", reason: "phone_lost",
			setup: called(siptest.Script{Do: []siptest.Action{{After: 2 * time.Second, Method: "INFO"}}}),
			during: func(t *testing.T, cr *callRig, id string) {
				cr.until(id, event.Connected)
				cr.phones["202"].SetScript(siptest.Script{Answers: map[sip.RequestMethod]int{"INFO": 481}})
				cr.ask("POST", "/v1/calls/"+id+"/actions/dtmf", as201, body(`{"digits":"1"}`))
			}},
		endCase{name: "refer, called answers", reason: "handed_over", flow: "refer"},
		endCase{name: "refer, no word after ringing", reason: "handed_over", flow: "refer",
			setup: calling(reports(siptest.Notify{Line: "SIP/2.0 100 Trying"}, siptest.Notify{After: time.Second, Line: "SIP/2.0 180 Ringing"}))},
		endCase{name: "refer, no word at all", reason: "refer_unreported", flow: "refer",
			setup: calling(siptest.Script{Refer: siptest.Refer{NoNotify: true}})},
		endCase{name: "refer only, refused", reason: "refer_refused", flow: "refer_only",
			setup: calling(siptest.Script{Refer: siptest.Refer{Status: 603}})},
		endCase{name: "refer refused, bridged instead", reason: "hung_up", flow: "refer",
			setup: setup{phones: map[string]siptest.Script{"201": {Refer: siptest.Refer{Status: 501}}, "202": {HangUpAfter: 10 * time.Second}}}},
		endCase{name: "merged", reason: "merged", during: func(t *testing.T, cr *callRig, id string) {
			cr.until(id, event.Connected)
			other := cr.call(`{"calling":"201","called":"203"}`)
			cr.until(other, event.Connected)
			cr.do(202, "POST", "/v1/calls/"+other+"/transfers", `{"mode":"attended","with_call":"`+id+`"}`, header("X-Request-Id", "req-of-the-end"))
			cr.ended(id)
			cr.do(200, "DELETE", "/v1/calls/"+other, "")
		}},
	)
}

// Each reason has a case that provokes it end to end: by whom, on which leg, at what
// stage, with which codes, and in which sentence.
func TestEachEndIsTold(t *testing.T) {
	var out bytes.Buffer
	for _, c := range endCases() {
		t.Run(c.name, func(t *testing.T) {
			withCalls(t, c.setup, func(t *testing.T, cr *callRig) {
				id := cr.call(`{"calling":"201","called":"202","flow":"`+cmpOr(c.flow, "invite")+`"`+c.more+`}`, header("X-Request-Id",
					"req-of-the-call"))
				if c.during != nil {
					c.during(t, cr, id)
				}
				end := cr.ended(id)
				if end.End.Reason != c.reason {
					t.Errorf("it ended for %s, want %s", inJSON(t, end.End), c.reason)
				}
				list := cr.events(id)
				if strings.Count(list, "call.ended") != 1 || !strings.HasSuffix(list, ", call.ended") {
					t.Errorf("its events are %s", list)
				}
				for _, l := range end.Legs {
					if l.State != event.LegEnded || !strings.Contains(list, "leg.ended "+l.ID) {
						t.Errorf("leg %s is %s: %s", l.ID, l.State, list)
					}
				}
				var legs []string
				for _, l := range end.Legs {
					legs = append(legs, l.ID+" "+l.End.Reason+" by "+l.End.By)
				}
				end.End.Message = strings.ReplaceAll(end.End.Message, id, "ID")
				out.WriteString("== " + c.name + "\n" + inJSON(t, end.End) + "\n" + strings.Join(legs, ", ") + "\n")
			})
		})
	}
	golden(t, "ends.golden", out.Bytes())
}

// golden compares a result with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is another now; -update rewrites it:\n%s", file, firstDifference(string(want), string(got)))
	}
}

// firstDifference shows where two texts begin to differ.
func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "want " + a[i] + "\n got " + b[i]
		}
	}
	return "one ends before the other"
}

// The matrix of REFER: when we hang up, by what the phone reports and when. Never is
// there a talk time.
func TestWhatReferCanKnow(t *testing.T) {
	reports := map[string]string{"100": "SIP/2.0 100 Trying", "180": "SIP/2.0 180 Ringing", "183": "SIP/2.0 183 Session Progress",
		"200": "SIP/2.0 200 OK",
		"486": "SIP/2.0 486 Busy Here"}
	var out bytes.Buffer
	for _, on := range []sipflow.HangUpOn{sipflow.Progressing, sipflow.Outcome} {
		for _, first := range []string{"none", "100", "180", "183", "200", "486"} {
			for _, then := range []string{"none", "200 within 32 s", "486 within 32 s", "200 later"} {
				if (first == "none" || first == "200" || first == "486") && then != "none" {
					continue
				}
				name := string(on) + ", " + first + ", then " + then
				t.Run(name, func(t *testing.T) {
					script := siptest.Script{Refer: siptest.Refer{NoNotify: first == "none"}}
					if first != "none" {
						state := ""
						if first == "200" || first == "486" {
							state = "terminated;reason=noresource"
						}
						script.Refer.Notify = []siptest.Notify{{After: time.Second, Line: reports[first], State: state}}
						code, when, more := strings.Cut(then, " ")
						after := 10 * time.Second
						if when == "later" {
							after = time.Minute
						}
						if more {
							script.Refer.Notify = append(script.Refer.Notify, siptest.Notify{After: after, Line: reports[code],
								State: "terminated;reason=noresource"})
						}
					}
					withCalls(t, setup{phones: map[string]siptest.Script{"201": script}, sip: func(c *sipflow.Config) { c.HangUpOn = on }},
						func(t *testing.T, cr *callRig) {
							id := cr.call(`{"calling":"201","called":"202","flow":"refer"}`)
							time.Sleep(7 * time.Minute)
							c := cr.ended(id)
							never := c.End.Outcome != event.HandedOver && c.End.Outcome != event.Unknown // the phones are known not to have talked
							if c.TalkMS != nil && (!never || *c.TalkMS != 0) || !c.ConnectedAt.IsZero() {
								t.Errorf("there is a talk time: %s", inJSON(t, c))
							}
							if l := c.Legs[1]; l.SIP != nil && l.SIP.CallID != "" {
								t.Errorf("the call of the phone has a Call-ID of ours: %s", inJSON(t, l))
							}
							released := ""
							if !c.ReleasedAt.IsZero() {
								released = ", released"
							}
							out.WriteString(name + ": " + string(c.End.Outcome) + " " + c.End.Reason + " by " + c.End.By + released + ", knowledge " +
								c.Knowledge.Level + ", called " + c.Legs[1].End.Reason +
								"\n    " + cr.events(id) + "\n    " + c.End.Message + "\n")
						})
				})
			}
		}
	}
	golden(t, "refer-matrix.golden", out.Bytes())
}

// The whole life of a call, as a client sees it: what is sent and answered, each event,
// and the call at its end.
func TestTheLifeOfACall(t *testing.T) {
	for _, flow := range []string{"invite", "refer"} {
		withCalls(t, setup{phones: map[string]siptest.Script{"201": {Ring: time.Second}, "202": {Ring: 2 * time.Second,
			HangUpAfter: 10 * time.Second}}},
			func(t *testing.T, cr *callRig) {
				var out bytes.Buffer
				write := func(title string, data []byte) {
					var b bytes.Buffer
					if err := json.Indent(&b, scrub(data), "", "  "); err != nil {
						t.Fatal(err)
					}
					out.WriteString("== " + title + "\n" + strings.TrimSpace(b.String()) + "\n")
				}
				w := cr.do(201, "PUT", "/v1/calls/the-life-of-a-call", `{"calling":"201","called":"202","flow":"`+flow+`","tags":{"deal":"4711"}}`,
					header("X-Request-Id", "req-1"))
				write("PUT /v1/calls/the-life-of-a-call: 201", w.Body.Bytes())
				c := cr.ended("the-life-of-a-call")
				list, err := cr.bus.CallEvents(c.ID, 0, 100)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range list {
					data, err := json.Marshal(map[string]any{"type": e.Type, "seq": e.Seq, "call_seq": e.CallSeq, "final": e.Final, "leg": e.Data.Leg,
						"change": e.Data.Change})
					if err != nil {
						t.Fatal(err)
					}
					write(string(e.Type), data)
				}
				write("GET /v1/calls/the-life-of-a-call: 200", cr.do(200, "GET", "/v1/calls/"+c.ID, "").Body.Bytes())
				golden(t, "life-"+flow+".golden", out.Bytes())
			})
	}
}

// scrub replaces what differs from run to run.
func scrub(data []byte) []byte {
	for _, name := range []string{"call_id", "sip_call_id", "timestamp", "created_at", "dialing_at", "ringing_at", "answered_at", "ended_at",
		"connected_at", "released_at", "until", "final_by"} {
		data = replaceMember(data, name)
	}
	return eventIDs.ReplaceAll(data, []byte(`"id":"evt_STORE_1_$1"`))
}

var eventIDs = regexp.MustCompile(`"id":"evt_[0-9a-z]+_1_(\d+)"`)

// replaceMember replaces the text of a member that is a time or an id of SIP.
func replaceMember(data []byte, name string) []byte {
	return regexp.MustCompile(`"`+name+`":"[^"]*(@|:)[^"]*"`).ReplaceAll(data, []byte(`"`+name+`":"…"`))
}
