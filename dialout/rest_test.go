package dialout

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
)

// alone runs a test in fake time with a service without Talk.
func alone(t *testing.T, f func(st *stage), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, func(c *Config) {
			for _, f := range change {
				f(c)
			}
		})
		stop := st.runs()
		f(st)
		stop()
		if st.active != 0 || len(st.users) != 0 {
			t.Errorf("counted as in progress: %d calls, %v", st.active, st.users)
		}
	})
}

func TestAClientCallsFollowsAndIsTheOnlyOneWhoSees(t *testing.T) {
	alone(t, func(st *stage) {
		id := st.call()
		l := st.one()
		if l.number != number || l.target != "sip:conference@sipx.test" || l.agent == nil || l.agent.Name != "201" || l.client.Trusted ||
			l.callID != id {
			t.Errorf("the order was %+v", l.placement)
		}
		if got, want := st.statusOf(id), `{"type":"dialout","dialout":{"callid":"`+id+`","status":"accepted"}}`; got != want {
			t.Errorf("GET %s, want %s", got, want)
		}
		l.rings()
		if got := st.statusOf(id); !strings.Contains(got, `"status":"ringing"`) {
			t.Error(got)
		}
		for name, who := range map[string]func(*http.Request){"another user": asAlice} {
			for _, method := range []string{"GET", "DELETE"} {
				if w := st.ask(method, "/dialout/"+id, "", who); w.Code != 404 || !strings.Contains(w.Body.String(), noSuchCall) {
					t.Errorf("%s of %s: %d %s", method, name, w.Code, w.Body)
				}
			}
		}
		if w := st.ask("GET", "/dialout/"+id, "", asNobody); w.Code != 401 {
			t.Errorf("without a PIN: %d", w.Code)
		}
		if w := st.ask("GET", "/dialout/"+id, "", asTrusted); w.Code != 200 {
			t.Errorf("a trusted peer: %d", w.Code)
		}
		if w := st.ask("GET", "/dialout/"+id+"?agent=202", "", asTrusted); w.Code != 404 {
			t.Errorf("a trusted peer for another user: %d", w.Code)
		}
		l.connects()
		if got := st.statusOf(id); !strings.Contains(got, `"status":"connected"`) {
			t.Error(got)
		}
		l.ends(phone, nil)
		if got, want := st.statusOf(id), `{"type":"dialout","dialout":{"callid":"`+id+
			`","status":"cleared","cause":"EndedByRemote","code":200,"message":"Bye"}}`; got != want {
			t.Errorf("GET %s, want %s", got, want)
		}
		time.Sleep(keepTime)
		synctest.Wait()
		if w := st.ask("GET", "/dialout/"+id, ""); w.Code != 404 {
			t.Errorf("after %v: %d", keepTime, w.Code)
		}
	})
}

func TestDeleteHangsUp(t *testing.T) {
	alone(t, func(st *stage) {
		id := st.call()
		l := st.one()
		l.rings()
		if w := st.ask("DELETE", "/dialout/"+id, ""); w.Code != 200 {
			t.Errorf("DELETE %d %s", w.Code, w.Body)
		}
		if got := st.statusOf(id); !strings.Contains(got,
			`"status":"cleared","cause":"EndedByLocal","code":487,"message":"Hung up by its client"`) {
			t.Error(got)
		}
		if !errors.Is(l.wasHungUp(), errClient) {
			t.Errorf("hung up for %v", l.wasHungUp())
		}
		if w := st.ask("DELETE", "/dialout/"+id, ""); w.Code != 200 {
			t.Errorf("again: %d", w.Code)
		}
	})
}

func TestRequestsOfClientsAreChecked(t *testing.T) {
	big := `{"type":"dialout","dialout":{"number":"` + strings.Repeat("1", maxBody) + `"}}`
	for name, tt := range map[string]struct {
		body   string
		change func(*http.Request)
		fail   error
		status int
		code   string
	}{
		"no body":         {"", nil, nil, 415, notJSON},
		"form":            {callJSON, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, nil, 415, notJSON},
		"charset":         {callJSON, func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, nil, 200, ""},
		"too large":       {big, nil, nil, 413, tooLarge},
		"not JSON":        {"hello", nil, nil, 400, badRequest},
		"an array":        {"[]", nil, nil, 400, badRequest},
		"null":            {"null", nil, nil, 400, badRequest},
		"two":             {callJSON + callJSON, nil, nil, 400, badRequest},
		"another type":    {`{"type":"call","dialout":{"number":"+493055500200"}}`, nil, nil, 400, badRequest},
		"no dialout":      {`{"type":"dialout"}`, nil, nil, 400, badRequest},
		"unknown field":   {`{"type":"dialout","x":1,"dialout":{"number":"+493055500200"}}`, nil, nil, 400, badRequest},
		"misspelt option": {`{"type":"dialout","dialout":{"number":"+493055500200","options":{"anonymus":true}}}`, nil, nil, 400, badRequest},
		"wrong kind":      {`{"type":"dialout","dialout":{"number":5}}`, nil, nil, 400, badRequest},
		"no number":       {`{"type":"dialout","dialout":{}}`, nil, nil, 400, badNumber},
		"bad number":      {`{"type":"dialout","dialout":{"number":"hello"}}`, nil, nil, 400, badNumber},
		"national number": {`{"type":"dialout","dialout":{"number":"030 55500200"}}`, nil, nil, 200, ""},
		"hostile caller": {`{"type":"dialout","dialout":{"number":"+493055500200","options":{"caller":"1\r\nX: y"}}}`, nil, nil, 400,
			badCaller},
		"caller, anonymous": {`{"type":"dialout","dialout":{"number":"+493055500200","options":{"caller":"1","anonymous":true}}}`, nil, nil, 400,
			badOptions},
		"hostile target": {`{"type":"dialout","dialout":{"number":"+493055500200","options":{"target":"sip:a@b\r\nX: y"}}}`, nil, nil, 400,
			badTarget},
		"premium number": {`{"type":"dialout","dialout":{"number":"+499001234567"}}`, nil, nil, 403, notAllowed},
		"premium target": {`{"type":"dialout","dialout":{"number":"+493055500200","options":{"target":"0900@sipx.test"}}}`, nil, nil, 403,
			notAllowed},
		"no credentials":     {callJSON, asNobody, nil, 401, ""},
		"trusted for nobody": {callJSON, asTrusted, nil, 403, noSuchUser},
		"unreachable":        {callJSON, nil, sipflow.ErrUnreachable, 502, noGateway},
		"draining":           {callJSON, nil, sipflow.ErrDraining, 503, stopping},
		"forbidden":          {callJSON, nil, sipflow.ErrForbidden, 403, notAllowed},
		"limit of the user":  {callJSON, nil, &sipflow.LimitError{Limit: sipflow.LimitCallsPerAgent, Wait: 7 * time.Second}, 429, tooMany},
		"limit of all":       {callJSON, nil, &sipflow.LimitError{Limit: sipflow.LimitCalls, Wait: 7 * time.Second}, 503, tooMany},
		"fault":              {callJSON, nil, errors.New("panic"), 500, internalError},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(st *stage) {
				st.fail = tt.fail
				var change []func(*http.Request)
				if tt.change != nil {
					change = append(change, tt.change)
				}
				w := st.ask("POST", "/dialout", tt.body, change...)
				if w.Code != tt.status {
					st.t.Fatalf("%d %s, want %d\n%s", w.Code, w.Body, tt.status, st.log)
				}
				if w.Code == 200 && w.Header().Get("Location") == "" {
					t.Error("no Location")
				}
				if tt.code == "" {
					return
				}
				var e envelope
				if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Type != "dialout" || e.Dialout.Error == nil ||
					e.Dialout.Error.Code != tt.code || len(e.Dialout.Error.Message) < 15 {
					t.Errorf("%s, want code %s", w.Body, tt.code)
				}
				if w.Header().Get("Content-Type") != "application/json" {
					t.Errorf("content type %q", w.Header().Get("Content-Type"))
				}
				if retry := w.Header().Get("Retry-After"); (retry != "") != (w.Code == 503 || w.Code == 429) {
					t.Errorf("Retry-After %q", retry)
				}
				if len(st.lines()) > 0 {
					t.Error("a phone was called")
				}
			}, func(c *Config) {
				c.Country = "DE"
				c.Allow = func(agent, target string) error {
					if agent != "201" {
						return errors.New("not 201")
					}
					if strings.Contains(target, "900") {
						return errors.New("premium")
					}
					return nil
				}
			})
		})
	}
}

func TestShutdownWhileAPhoneIsBeingPlacedForAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, nil)
		st.stuck = make(chan struct{})
		stop := st.runs()
		answer := make(chan *httptest.ResponseRecorder, 1)
		go func() { answer <- st.ask("POST", "/dialout", callJSON) }()
		synctest.Wait()
		began := time.Now()
		stop()
		if w := <-answer; w.Code != 503 || !strings.Contains(w.Body.String(), stopping) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("stopping took %v", d)
		}
	})
}

func TestAPhoneThatCannotBePlacedInTime(t *testing.T) {
	alone(t, func(st *stage) {
		st.stuck = make(chan struct{})
		began := time.Now()
		if w := st.ask("POST", "/dialout", callJSON); w.Code != 502 || !strings.Contains(w.Body.String(), noGateway) ||
			time.Since(began) != placeTime {
			t.Errorf("%d %s after %v", w.Code, w.Body, time.Since(began))
		}
	})
}

func TestATrustedPeerCallsForAUser(t *testing.T) {
	alone(t, func(st *stage) {
		if w := st.ask("POST", "/dialout?agent=bob", callJSON, asTrusted); w.Code != 200 {
			st.t.Fatalf("%d %s", w.Code, w.Body)
		}
		if l := st.one(); l.agent.Name != "201" || !l.client.Trusted {
			t.Errorf("the order was %+v", l.placement)
		}
		if w := st.ask("POST", "/dialout?x=1&agent=%20201+&agent=299", callJSON, asTrusted); w.Code != 200 {
			t.Errorf("with blanks around the agent: %d %s", w.Code, w.Body)
		}
		if w := st.ask("POST", "/dialout?agent=+201", callJSON, asTrusted); w.Code != 403 {
			t.Errorf("the agent +201: %d %s", w.Code, w.Body)
		}
		if w := st.ask("POST", "/dialout?agent=299", callJSON, asTrusted); w.Code != 403 || !strings.Contains(w.Body.String(), noSuchUser) {
			t.Errorf("for nobody: %d %s", w.Code, w.Body)
		}
		if w := st.ask("POST", "/dialout?agent=202", callJSON); w.Code != 401 {
			t.Errorf("for another: %d", w.Code)
		}
	})
}

func TestAClientWithoutATargetIsToldSo(t *testing.T) {
	alone(t, func(st *stage) {
		if w := st.ask("POST", "/dialout", callJSON); w.Code != 400 || !strings.Contains(w.Body.String(), badTarget) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}, func(c *Config) { c.Target = "" })
}

func TestCallsOfOneUserAreBounded(t *testing.T) {
	alone(t, func(st *stage) {
		st.call()
		st.one().ends(phone, nil)
		synctest.Wait()
		st.call()
		st.call()
		w := st.ask("POST", "/dialout", callJSON)
		if w.Code != 429 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w := st.ask("POST", "/dialout", callJSON, asAlice); w.Code != 200 {
			t.Errorf("another user: %d %s", w.Code, w.Body)
		}
	}, func(c *Config) { c.Limits.User = 2 })
}

func TestMethodsAndPaths(t *testing.T) {
	alone(t, func(st *stage) {
		for _, tt := range []struct{ method, path, allow, route string }{
			{"GET", "/dialout", "POST", "/dialout"},
			{"OPTIONS", "/dialout", "POST", "/dialout"},
			{"PUT", "/dialout/x", "GET, HEAD, DELETE", "/dialout/{callid}"},
			{"POST", "/dialout/x", "GET, HEAD, DELETE", "/dialout/{callid}"},
			{"POST", "/dialout/x/events", "GET", "/dialout/{callid}/events"},
		} {
			if w := st.ask(tt.method, tt.path, ""); w.Code != 405 || w.Header().Get("Allow") != tt.allow || !strings.Contains(w.Body.String(),
				badMethod) {
				t.Errorf("%s %s: %d, Allow %q, %s", tt.method, tt.path, w.Code, w.Header().Get("Allow"), w.Body)
			}
			r, _ := http.NewRequest(tt.method, tt.path, nil)
			if got := Route(r); got != tt.route {
				t.Errorf("route of %s: %q", tt.path, got)
			}
		}
		for _, path := range []string{"/dialout/", "/dialout/x/y", "/dialout/x/events/"} {
			if w := st.ask("GET", path, ""); w.Code != 404 {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
		if w := st.ask("POST", "/dialout", callJSON, func(r *http.Request) { r.Header.Set("Origin", "https://evil.test") }); w.Code != 403 {
			t.Errorf("cross-site: %d", w.Code)
		}
	})
}

// What is wrong is named, and what would be right.
func TestErrorsOfJSONNameTheField(t *testing.T) {
	alone(t, func(st *stage) {
		for body, want := range map[string]string{
			`{"type":"dialout","dialout":{"number":5}}`: "dialout.number must be a JSON string, and is a " +
				"JSON number.",
			`{"type":"dialout","dialout":{"number":"+49301","options":{"anonymous":"yes"}}}`: "dialout.options.anonymous must be true or false, " +
				"and is a JSON string.",
			`{"type":"dialout","dialout":{"number":"+49301","options":[]}}`: "dialout.options must be a JSON object, and is a JSON array.",
			`{"type":"dialout","dialout":"x"}`:                              "dialout must be a JSON object, and is a JSON string.",
			`[]`:                                                            "the whole must be a JSON object, and is a JSON array.",
			` `:                                                             "it is empty.",
			`{"type":"dialout","dialout":{"number":"+49301","options":{"anonymos":true}}}`: `it has the unknown field "anonymos".`,
		} {
			w := st.ask("POST", "/dialout", body)
			var e envelope
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Dialout.Error == nil ||
				e.Dialout.Error.Message != "The request is not valid: "+want {
				t.Errorf("%s: %s, want %s", body, w.Body, want)
			}
		}
	})
}

// A target of the operator's may be anywhere, one of a client's not.
func TestATargetOfAClientsIsMarked(t *testing.T) {
	alone(t, func(st *stage) {
		st.call()
		if l := st.one(); l.chosen || l.spec(&st.cfg).Dial.Chosen {
			t.Error("the configured target is taken for the client's")
		}
		st.ask("POST", "/dialout", `{"type":"dialout","dialout":{"number":"+493055500200","options":{"target":"sip:x@127.0.0.1:9100"}}}`)
		l := st.lines()[1]
		if !l.chosen || !l.spec(&st.cfg).Dial.Chosen {
			t.Error("the client's target is taken for the operator's")
		}
	})
}

func TestTheEndOfACallIsALine(t *testing.T) {
	alone(t, func(st *stage) {
		id := st.call()
		l := st.one()
		l.placed("a1@10.0.0.1")
		l.rings()
		time.Sleep(time.Second)
		if w := st.ask("DELETE", "/dialout/"+id, ""); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		synctest.Wait()
		for _, want := range []string{`level=INFO msg="call ended" flow=dialout agent=201 calling=` + number +
			` peer=198.51.100.7 call_ids=[a1@10.0.0.1] outcome=cancelled ended_by=service took=1s`,
			` call=` + id + ` code=487 reason="Hung up by its client" error="hung up by its client"`} {
			if !strings.Contains(st.log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, st.log)
			}
		}
	})
}
