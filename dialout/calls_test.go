package dialout

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
	"sipxrest/talk/talktest"
)

// told is a Calls that notes what it is told, with the ids of calls as a, b, ….
type told struct {
	mu    sync.Mutex
	notes []string
	names map[string]string
}

func newTold() *told { return &told{names: map[string]string{}} }

func (c *told) note(format, id string, more ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[id] == "" {
		c.names[id] = string(rune('a' + len(c.names)))
	}
	c.notes = append(c.notes, fmt.Sprintf(format, append([]any{c.names[id]}, more...)...))
}

func asked(a Asked) string {
	return fmt.Sprintf("%s %q calls %q for %q, request %q", a.Source, a.Agent, a.Number, a.Target, a.RequestID)
}

func (c *told) Expect(a Asked)   { c.note("expect %s: %s", a.ID, asked(a)) }
func (c *told) Forget(id string) { c.note("forget %s", id) }
func (c *told) Refused(a Asked, why Reason, text string) {
	c.note("refused %s: %s: %d %s", a.ID, asked(a), why, text)
}
func (c *told) HangsUp(id string, who Who) {
	c.note("hangs up %s: agent %q, backend %q: %s", id, who.Agent, who.Backend, who.Why)
}

func (c *told) was(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.notes, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(c.notes, "\n"), strings.Join(want, "\n"))
	}
	c.notes = nil
}

const ofTalk = `talk "" calls "+493055500200" for "sip:4271953862@conference.test", request ""`

func TestCallsOfTalkAreTold(t *testing.T) {
	calls := newTold()
	inTalk(t, func(st *talkStage) {
		_, l := st.dial()
		calls.was(t, "expect a: "+ofTalk)
		l.rings()
		l.ends(phone, &sipflow.StatusError{Method: "INVITE", Code: 486})
		calls.was(t) // the switchboard tells that

		st.lab.Cloud.VerifyStatus = 404
		time.Sleep(time.Minute)
		_, _ = st.lab.Cloud.Dialout(token, number, talktest.Options(102))
		calls.was(t, "refused b: "+ofTalk+": 0 The number could not be verified: it is "+
			"not among the participants of this "+
			"conversation any more.")
		st.lab.Cloud.VerifyStatus = 0

		_, _ = st.lab.Cloud.Dialout(token, "+49", talktest.Options(103))
		calls.was(t, `refused c: talk "" calls "+49" for "", request "": 1 This is not a valid phone number. Write it `+
			"with its country code, for example +49 30 1234567.")

		st.mu.Lock()
		st.fail = sipflow.ErrUnreachable
		st.mu.Unlock()
		if _, err := st.lab.Cloud.Dialout(token, number, talktest.Options(104)); err != nil {
			t.Error(err)
		}
		calls.was(t, "expect d: "+ofTalk, "forget d", "refused d: "+ofTalk+": 8 The telephone network cannot be reached. Try again later.")
		time.Sleep(time.Minute)
	}, func(c *Config) { c.Calls = calls })
}

func TestWhoHangsUpInTalkIsTold(t *testing.T) {
	calls := newTold()
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		calls.was(t, "expect a: "+ofTalk)
		st.find(id).hangUp(errModerator)
		calls.was(t, `hangs up a: agent "", backend "`+talktest.CloudURL+`": Hung up by a moderator`)
		l.ends(us, nil)
		time.Sleep(time.Minute)
		st.mu.Lock()
		st.placed = nil
		st.mu.Unlock()
		st.dial()
		calls.was(t, "expect b: "+ofTalk)
		st.stop()
		calls.was(t) // the end of the service is nobody's request
	}, func(c *Config) { c.Calls = calls })
}

func TestCallsOfClientsAreTold(t *testing.T) {
	calls := newTold()
	alone(t, func(st *stage) {
		w := st.ask("POST", "/dialout", `{"type":"dialout","dialout":{"number":"+493055500200"}}`)
		if w.Code != 200 {
			t.Fatal(w.Body)
		}
		const ofREST = `rest "201@sipx.test" calls "+493055500200" for "sip:conference@sipx.test", request ""`
		calls.was(t, "expect a: "+ofREST)
		id := strings.TrimPrefix(w.Header().Get("Location"), "/dialout/")
		if got := st.one().spec(&st.cfg).ID; got != id {
			t.Errorf("it is placed as %q, and its callid is %q", got, id)
		}
		st.ask("DELETE", "/dialout/"+id, "")
		st.ask("DELETE", "/dialout/"+id, "")
		calls.was(t, `hangs up a: agent "201", backend "": Hung up by its client`)

		st.mu.Lock()
		st.fail = sipflow.ErrUnreachable
		st.mu.Unlock()
		st.ask("POST", "/dialout", `{"type":"dialout","dialout":{"number":"+493055500200"}}`)
		st.ask("POST", "/dialout", `{"type":"dialout","dialout":{"number":"1"}}`) // refused: no call
		calls.was(t, "expect b: "+ofREST, "forget b")
	}, func(c *Config) { c.Calls = calls })
}
