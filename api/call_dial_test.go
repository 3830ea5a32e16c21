package api

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/event"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// gateway is a way to the telephone network: 202 and 203 are its telephones.
type gateway struct {
	mu     sync.Mutex
	active int
	most   int
}

func (*gateway) Number(text string) (string, error) {
	if digits := strings.TrimPrefix(text, "+"); digits == text || strings.Trim(digits, "0123456789") != "" {
		return "", errors.New("this is not a valid phone number")
	}
	return text, nil
}

func (*gateway) Caller(number string) (string, bool) { return "+4930123456", number == "+4930123456" }

func (*gateway) Dialling(number string) sipflow.Dialling {
	return sipflow.Dialling{Gateway: "sip:" + testDomain + ";maddr=10.0.0.9", Number: number, Caller: "+4930123456"}
}

func (g *gateway) Enter(string) (func(), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active == g.most {
		return nil, &sipflow.LimitError{Limit: sipflow.LimitCalls, Most: g.most, Wait: time.Second}
	}
	g.active++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.active--
	}, nil
}

// A call to a number goes by the gateway, whichever of the two it is, and counts there
// until it is over.
func TestANumberIsCalledByTheGateway(t *testing.T) {
	g := &gateway{most: 1}
	withCalls(t, setup{phones: map[string]siptest.Script{"201": {Ring: time.Second}}, api: func(c *Config) { c.Calls.Telephony = g },
		without: []string{"202", "203"},
		numbers: map[string]string{"+49202": "202", "+49203": "203"}}, func(t *testing.T, cr *callRig) {
		for pointer, text := range map[string]string{
			"/called/number": `{"calling":"201","called":{"number":"030"}}`,
			"/called":        `{"calling":{"number":"+49202"},"called":{"number":"+49203"}}`,
			"/flow":          `{"calling":"201","called":{"number":"+49202"},"flow":"refer"}`,
			"/caller":        `{"calling":"201","called":{"number":"+49202"},"caller":"me"}`,
			"/called/name":   `{"calling":"201","called":{"number":"+49202","name":"x"}}`,
		} {
			if p := cr.refuses(InvalidRequest, "POST", "/v1/calls", text); p.Errors[0].Pointer != pointer {
				t.Errorf("%s: %+v", text, p.Errors)
			}
		}
		cr.refuses(CallerIDNotAllowed, "POST", "/v1/calls", `{"calling":"201","called":{"number":"+49202"},"caller":{"number":"+49999"}}`)
		id := cr.call(`{"calling":"201","called":{"number":"+49202"},"caller":{"number":"+4930123456"}}`)
		if c := cr.get(id); c.Kind != event.DialOut || c.Agent != "201@sipx.test" || c.Legs[1].Address != "+49202" {
			t.Errorf("the call is %s", inJSON(t, c))
		}
		if p := cr.refuses(TooManyCalls, "POST", "/v1/calls", `{"calling":"201","called":{"number":"+49203"}}`); p.RetryAfterMS == nil {
			t.Errorf("%+v", p)
		}
		c := cr.until(id, event.Connected)
		if got := cr.phones["202"].Requests("INVITE")[0].From().Address.User; got != "+4930123456" {
			t.Errorf("the telephone was called by %q", got)
		}
		cr.refuses(ActionUnsupported, "POST", "/v1/calls/"+id+"/actions/hold", "")
		if strings.Join(cr.get(id).Actions, " ") != "hangup dtmf" || c.Legs[0].State != event.LegAnswered {
			t.Errorf("%s", inJSON(t, cr.get(id)))
		}
		if _, _, sent := cr.act(id, "dtmf", `{"digits":"42"}`); sent != 2 {
			t.Errorf("%d digits were taken", sent)
		}
		cr.do(200, "DELETE", "/v1/calls/"+id, "")
		if g.active != 0 {
			t.Errorf("%d calls are counted after the end", g.active)
		}
		// The number first: it is joined with a user of ours.
		id = cr.call(`{"calling":{"number":"+49203"},"called":"201","caller":"anonymous"}`)
		cr.until(id, event.Connected)
		if from := cr.phones["203"].Requests("INVITE")[0].From(); from.Address.User != "anonymous" {
			t.Errorf("the telephone was called by %v", from)
		}
		cr.do(200, "DELETE", "/v1/calls/"+id, "")
		if end := cr.ended(id); end.End.Reason != "client_hung_up" || g.active != 0 {
			t.Errorf("%s, %d calls are counted", inJSON(t, end.End), g.active)
		}
	})
}
