package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/event"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

func TestACallIsPlacedAndSeenToItsEnd(t *testing.T) {
	withCalls(t, setup{phones: map[string]siptest.Script{"201": {Ring: time.Second}, "202": {Ring: 2 * time.Second,
		HangUpAfter: 10 * time.Second}}},
		func(t *testing.T, cr *callRig) {
			w := cr.do(201, "POST", "/v1/calls",
				`{"calling":"201","called":"sip:202@sipx.test","subject":"Deal 4711","tags":{"deal":"4711"},"metadata":{"n":1}}`)
			c := shownCall(t, w)
			if !strings.HasPrefix(c.ID, "call_") || c.Agent != "201@sipx.test" || c.Kind != event.ClickToCall || c.Source != event.FromAPI ||
				c.Tags["deal"] != "4711" ||
				string(c.Metadata) != `{"n":1}` || len(c.Legs) != 2 || c.Legs[0].Address != "201@sipx.test" ||
				c.Flow != (event.Flow{Requested: "auto", Used: "invite"}) {
				t.Errorf("the call is %s", w.Body)
			}
			if c.Links == nil || c.Links.Self != "/v1/calls/"+c.ID || w.Header().Get("ETag") == "" || c.RequestID != w.Header().Get("X-Request-Id") {
				t.Errorf("%v %s", w.Header(), w.Body)
			}
			up := cr.until(c.ID, event.Connected)
			if got := strings.Join(cr.actionsOf(up, AsAgent), " "); got != "hangup hold mute dtmf transfer" {
				t.Errorf("in talk, the actions are %s", got)
			}
			if got := cr.phones["201"].Requests("INVITE")[0].GetHeader("Subject").Value(); got != "Deal 4711" {
				t.Errorf("the Subject is %q", got)
			}
			end := cr.ended(c.ID)
			if end.End.Reason != "hung_up" || end.End.By != "called" || end.End.Outcome != event.Completed || end.TalkMS == nil {
				t.Errorf("it ended %s", inJSON(t, end))
			}
			if again := cr.get(c.ID); again.Version != end.Version || len(again.Actions) != 0 {
				t.Errorf("shown: %s", inJSON(t, again))
			}
		})
}

// Whatever a body has that is wrong is said at once, each member by its pointer.
func TestEachMemberOfACreateIsChecked(t *testing.T) {
	long := strings.Repeat("x", 300)
	withCalls(t, setup{}, func(t *testing.T, cr *callRig) {
		for text, want := range map[string]string{
			`{}`:                            "/calling missing, /called missing",
			`[]`:                            " wrong_type, /calling missing, /called missing",
			`{"calling":1,"called":null}`:   "/calling wrong_type, /called missing",
			`{"calling":"a;b","called":""}`: "/calling invalid, /called invalid",
			`{"calling":"201","called":"202","autoanswer":true,"timeout_ms":1,"flow":"sip","tags":{"a":1,"":"x"},"id":"short","on_conflict":7,` +
				`"max_duration_ms":999}`: "/autoanswer unknown_member, /on_conflict wrong_type, /id invalid, /flow invalid," +
				" /timeout_ms out_of_range, /max_duration_ms out_of_range, /tags/ invalid, /tags/a wrong_type",
			`{"calling":"201","called":"202","timeout_ms":3600001}`:                                  "/timeout_ms out_of_range",
			`{"calling":"201","called":"202","timeout_ms":1.5}`:                                      "/timeout_ms wrong_type",
			`{"calling":"201","called":"202","subject":"` + long + `"}`:                              "/subject out_of_range",
			`{"calling":"201","called":"202","subject":"a\r\nX-Evil: 1"}`:                            "/subject invalid",
			`{"calling":"201","called":"202","conf_pin":"` + long + `"}`:                             "/conf_pin out_of_range",
			`{"calling":"201","called":"202","called":"203"}`:                                        "/called duplicate_member",
			`{"calling":"201","called":{"number":"030"}}`:                                            "/called invalid",
			`{"calling":"201","called":"202","caller":"anonymous"}`:                                  "/caller invalid",
			`{"calling":"201","called":"202","flow":"refer","max_duration_ms":60000}`:                "/max_duration_ms invalid",
			`{"calling":"201","called":"202","auto_answer":true}`:                                    "/auto_answer invalid",
			`{"calling":"201","called":"202","id":"call_01KBA8M3YQ7V0T4N2ZJ6"}`:                      "/id invalid",
			`{"calling":"201","called":"202","metadata":"` + strings.Repeat("x", maxMetadata) + `"}`: "/metadata out_of_range",
			`{"calling":"201","called":"202","tags":{"` + long + `":"x"}}`:                           "/tags/" + long[:maxTagKey] + "… out_of_range",
			`{"calling":"201","called":"202","tags":{"k":"` + long + `"}}`:                           "/tags/k out_of_range",
			`{"calling":"201","called":"202","tags":{"0":"","1":"","2":"","3":"","4":"","5":"","6":"","7":"","8":"","9":"","a":"","b":"",` +
				`"c":"","d":"","e":"","f":"","g":""}}`: "/tags out_of_range",
		} {
			p := cr.refuses(InvalidRequest, "POST", "/v1/calls", text)
			var got []string
			for _, e := range p.Errors {
				got = append(got, e.Pointer+" "+e.Code)
			}
			if strings.Join(got, ", ") != want {
				t.Errorf("%.80s:\n got %q\nwant %q", text, strings.Join(got, ", "), want)
			}
			if p.Dialled != DialledNo {
				t.Errorf("%s: dialled %s", text, p.Dialled)
			}
		}
		for _, text := range []string{"", "{", `{"calling":"\xff"}`, `{} {}`} {
			cr.refuses(InvalidJSON, "POST", "/v1/calls", text, body(text))
		}
		cr.refuses(UnsupportedMediaType, "POST", "/v1/calls", usual, header("Content-Type", "text/plain"))
		cr.refuses(BodyTooLarge, "POST", "/v1/calls", `"`+strings.Repeat("x", maxBody)+`"`)
		cr.refuses(UnknownParameter, "POST", "/v1/calls?autoanswer=1", usual)
		cr.refuses(InvalidRequest, "PUT", "/v1/calls/short", usual)
		cr.refuses(InvalidRequest, "POST", "/v1/calls", usual, header("Idempotency-Key", `"open`))
		cr.refuses(InvalidRequest, "POST", "/v1/calls", usual, header("Idempotency-Key", strings.Repeat("k", 129)))
		if n := len(cr.net.Packets()); n != 0 {
			t.Errorf("%d packets were sent for refused requests", n)
		}
	})
}

func TestWhoMayPlaceWhichCall(t *testing.T) {
	withCalls(t, setup{
		sip: func(c *sipflow.Config) {
			c.Allow = func(spec *sipflow.Spec, target string) error {
				if strings.HasPrefix(target, "0900") {
					return context.Canceled
				}
				return nil
			}
		},
		api: func(c *Config) { c.Calls.AutoAnswer = sipflow.AlertInfo },
	}, func(t *testing.T, cr *callRig) {
		cr.refuses(WrongAgent, "POST", "/v1/calls", `{"calling":"201","called":"202","agent":"202"}`)
		cr.refuses(AutoAnswerNotOwn, "POST", "/v1/calls", `{"calling":"202","called":"203","auto_answer":true}`)
		cr.refuses(PolicyDenied, "POST", "/v1/calls", `{"calling":"201","called":"0900123"}`)
		cr.refuses(MissingScope, "POST", "/v1/calls", `{"calling":"201","called":"202","webhook":{"url":"https://x.example/"}}`)
		cr.refuses(MissingScope, "POST", "/v1/calls", usual, cr.withKey("reader"))
		cr.refuses(WrongAgent, "POST", "/v1/calls", `{"calling":"202","called":"203"}`, cr.withKey("crm"))
		peer := func(text string) *httptest.ResponseRecorder {
			return cr.askAt(cr.trusting, "POST", "/v1/calls", asTrusted, body(text))
		}
		for text, want := range map[string]Code{
			`{"calling":"299","called":"202"}`:               AgentRequired,
			`{"calling":"201","called":"202","agent":"299"}`: UnknownUser,
		} {
			if p := problemOf(t, peer(text)); p.Code != want {
				t.Errorf("%s: %s, want %s", text, p.Code, want)
			}
		}
		if cr.invites("201")+cr.invites("202") != 0 {
			t.Error("a phone was called for a call that was refused")
		}
		// The agent may have another's phone called.
		id := cr.call(`{"calling":"202","called":"203"}`)
		if c := cr.get(id); c.Agent != "201@sipx.test" || c.Legs[0].Address != "202@sipx.test" {
			t.Errorf("the call is %s", inJSON(t, c))
		}
		for _, w := range []*httptest.ResponseRecorder{
			peer(`{"calling":"203","called":"202"}`),
			cr.ask("POST", "/v1/calls", cr.withKey("all"), body(`{"calling":"203","called":"201"}`)),
		} {
			if w.Code != 201 || shownCall(t, w).Agent != "203@sipx.test" {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		cr.call(`{"calling":"201","called":"203","auto_answer":true}`)
		after(time.Second)
		asked := false
		for _, invite := range cr.phones["201"].Requests("INVITE") {
			asked = asked || invite.GetHeader("Alert-Info") != nil
		}
		if !asked {
			t.Error("the agent's phone was not asked to pick up by itself")
		}
	})
}

// Of many requests at once that mean the same call, one places it.
func TestAHundredRequestsPlaceOneCall(t *testing.T) {
	const other = `{"calling":"201","called":"203"}`
	for name, c := range map[string]struct {
		method, target string
		how            func(*http.Request)
		otherwise      Code // of those with another body
	}{
		"one key":       {"POST", "/v1/calls", header("Idempotency-Key", `"8e03978e-40d5"`), IdempotencyMismatch},
		"one id by PUT": {"PUT", "/v1/calls/my-own-id-0123456789", func(*http.Request) {}, IDInUse},
	} {
		t.Run(name, func(t *testing.T) {
			withCalls(t, setup{phones: map[string]siptest.Script{"201": {Ring: time.Second}}}, func(t *testing.T, cr *callRig) {
				answers := make([]*httptest.ResponseRecorder, 100)
				bodies := make([]string, len(answers))
				var all sync.WaitGroup
				for i := range answers {
					bodies[i] = usual
					if i%5 == 4 {
						bodies[i] = other
					}
					all.Go(func() { answers[i] = cr.ask(c.method, c.target, as201, body(bodies[i]), c.how) })
				}
				all.Wait()
				first := -1
				for i, w := range answers {
					if w.Code == 201 {
						if first >= 0 {
							t.Fatalf("two calls: %s and %s", answers[first].Body, w.Body)
						}
						first = i
					}
				}
				if first < 0 {
					t.Fatal("nobody placed the call")
				}
				for i, w := range answers {
					if i == first {
						continue
					}
					if bodies[i] != bodies[first] {
						if p := problemOf(t, w); p.Code != c.otherwise {
							t.Errorf("another body: %d %s", w.Code, w.Body)
						}
						continue
					}
					switch w.Code {
					case 200:
						if w.Header().Get("Idempotency-Replayed") != "true" || shownCall(t, w).ID != shownCall(t, answers[first]).ID {
							t.Errorf("a replay: %v %s", w.Header(), w.Body)
						}
					case 409:
						if p := problemOf(t, w); p.Code != IdempotencyInProgress || w.Header().Get("Retry-After") != "1" {
							t.Errorf("meanwhile: %v %s", w.Header(), w.Body)
						}
					default:
						t.Errorf("%d %s", w.Code, w.Body)
					}
				}
				after(5 * time.Second)
				if n := cr.invites("201"); n != 1 {
					t.Errorf("the phone of 201 was called %d times", n)
				}
				// Long afterwards, it is the call as it is then.
				id := shownCall(t, answers[first]).ID
				cr.do(200, "DELETE", "/v1/calls/"+id, "")
				w := cr.do(200, c.method, c.target, bodies[first], c.how)
				if got := shownCall(t, w); got.State != event.Ended || got.ID != id || w.Header().Get("Idempotency-Replayed") != "true" {
					t.Errorf("replayed after the end: %s", w.Body)
				}
			})
		})
	}
}

// The same key may try again after a refusal before any INVITE.
func TestAKeyOfARefusedRequestIsFree(t *testing.T) {
	withCalls(t, setup{phones: map[string]siptest.Script{"201": {NeverAnswer: true}}}, func(t *testing.T, cr *callRig) {
		first := cr.call(usual)
		key := header("Idempotency-Key", "again")
		p := cr.refuses(CallInProgress, "POST", "/v1/calls", usual, key)
		if p.Existing != first || p.Dialled != DialledNo {
			t.Errorf("refused with %+v", p)
		}
		w := cr.do(200, "POST", "/v1/calls", `{"calling":"201","called":"202","on_conflict":"return"}`)
		if got := shownCall(t, w).ID; got != first {
			t.Errorf("returned %s, want %s", got, first)
		}
		cr.do(200, "DELETE", "/v1/calls/"+first, "")
		if id := cr.call(usual, key); id == first {
			t.Error("the second call has the id of the first")
		}
		third := cr.call(`{"calling":"201","called":"202","on_conflict":"replace"}`)
		after(3 * time.Second)
		if c := cr.get(third); c.State != event.Calling {
			t.Errorf("the third call is %s", inJSON(t, c))
		}
		if id, other := cr.call(`{"calling":"201","called":"203","id":"of-my-own-0123456789"}`), "of-my-own-0123456789"; id != other {
			t.Errorf("the id is %s", id)
		}
		cr.refuses(IDInUse, "POST", "/v1/calls", `{"calling":"201","called":"203","id":"of-my-own-0123456789"}`, header("Idempotency-Key",
			"another"))
	})
}

// A client that goes away does not take its call with it, whatever it waits for.
func TestAClientThatGoesKeepsItsCall(t *testing.T) {
	withCalls(t, setup{phones: map[string]siptest.Script{"201": {Ring: 5 * time.Second}}}, func(t *testing.T, cr *callRig) {
		for _, wait := range []string{"", "wait=20"} {
			ctx, leave := context.WithCancel(t.Context())
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				cr.ask("PUT", "/v1/calls/client-goes-away-"+wait[:min(4, len(wait))]+"x", as201,
					body(`{"calling":"201","called":"202","on_conflict":"replace"}`),
					header("Prefer", wait), func(r *http.Request) { *r = *r.WithContext(ctx) })
			}()
			synctest.Wait()
			leave()
			<-answered
			after(20 * time.Second)
			if c := cr.get("client-goes-away-" + wait[:min(4, len(wait))] + "x"); c.State != event.Connected {
				t.Errorf("Prefer %q: the call is %s", wait, inJSON(t, c))
			}
		}
	})
}

func TestTheAnswerWaitsAsLongAsTheClientPrefers(t *testing.T) {
	withCalls(t, setup{phones: map[string]siptest.Script{"201": {Ring: 2 * time.Second}, "202": {Ring: 2 * time.Second}}}, func(t *testing.T,
		cr *callRig) {
		for wait, want := range map[string]event.State{"wait=1": event.Calling, "wait=20": event.Connected} {
			began := time.Now()
			w := cr.do(201, "POST", "/v1/calls", `{"calling":"201","called":"202","on_conflict":"replace"}`, header("Prefer", wait))
			if c := shownCall(t, w); c.State != want {
				t.Errorf("%s: state %s after %v", wait, c.State, time.Since(began))
			}
			after(15 * time.Second)
		}
		id := cr.call(`{"calling":"201","called":"203"}`)
		c := cr.until(id, event.Connected)
		w := cr.do(304, "GET", "/v1/calls/"+id, "", header("If-None-Match", etag(c.Version)), header("Prefer", "wait=3"))
		if w.Body.Len() != 0 || w.Header().Get("ETag") != etag(c.Version) {
			t.Errorf("nothing new: %v %s", w.Header(), w.Body)
		}
		go func() {
			time.Sleep(2 * time.Second)
			cr.ask("DELETE", "/v1/calls/"+id, as201)
		}()
		w = cr.do(200, "GET", "/v1/calls/"+id, "", header("If-None-Match", etag(c.Version)), header("Prefer", "wait=20"))
		if shownCall(t, w).Version <= c.Version {
			t.Errorf("it did not wait for the change: %s", w.Body)
		}
		synctest.Wait()
	})
}

func TestACallThatCannotBePlaced(t *testing.T) {
	t.Run("draining", func(t *testing.T) {
		withCalls(t, setup{}, func(t *testing.T, cr *callRig) {
			cr.sw.Drain()
			if p := cr.refuses(Draining, "POST", "/v1/calls", usual); p.RetryAfterMS == nil || p.Dialled != DialledNo {
				t.Errorf("%+v", p)
			}
		})
	})
	t.Run("too many of one user", func(t *testing.T) {
		withCalls(t, setup{sip: func(c *sipflow.Config) { c.Limits.CallsPerAgent = 1 }}, func(t *testing.T, cr *callRig) {
			cr.call(usual)
			if p := cr.refuses(TooManyCallsOfUser, "POST", "/v1/calls", `{"calling":"201","called":"203"}`); p.RetryAfterMS == nil {
				t.Errorf("%+v", p)
			}
		})
	})
	t.Run("too many of all", func(t *testing.T) {
		withCalls(t, setup{sip: func(c *sipflow.Config) { c.MaxCalls = 1 }}, func(t *testing.T, cr *callRig) {
			cr.call(usual)
			cr.refuses(TooManyCalls, "POST", "/v1/calls", `{"calling":"201","called":"203"}`)
		})
	})
	t.Run("too often by a key", func(t *testing.T) {
		withCalls(t, setup{api: func(c *Config) { c.CallRatePerKey = 1 }}, func(t *testing.T, cr *callRig) {
			cr.call(usual, cr.withKey("crm"))
			cr.refuses(RateLimited, "POST", "/v1/calls", `{"calling":"201","called":"203"}`, cr.withKey("crm"))
		})
	})
	t.Run("no server", func(t *testing.T) {
		withCalls(t, setup{sip: func(c *sipflow.Config) { c.OutboundProxies = []string{"sip:10.9.9.9:5060;transport=tcp"} }}, func(t *testing.T,
			cr *callRig) {
			key := header("Idempotency-Key", "k")
			p := cr.refuses(UnreachableCode, "POST", "/v1/calls", usual, key)
			if p.CallID == "" {
				t.Fatalf("no call is named: %+v", p)
			}
			// It is kept: the call is there, and has ended.
			synctest.Wait()
			w := cr.do(200, "POST", "/v1/calls", usual, key)
			if c := shownCall(t, w); c.ID != p.CallID || c.State != event.Ended || c.End.Reason != "unreachable" {
				t.Errorf("replayed: %s", w.Body)
			}
		})
	})
}
