package app

import (
	"sipxrest/api"
	"sipxrest/event"
	"sipxrest/sipflow"
)

// callsConfig is what the API asks for calls of. Other features are open by the time
// that it serves.
func (a *App) callsConfig() (api.CallsConfig, error) {
	autoAnswer, err := sipflow.ParseAutoAnswer(a.cfg.Call.AutoAnswer)
	if err != nil {
		return api.CallsConfig{}, err
	}
	c := api.CallsConfig{Timeout: a.cfg.Call.Timeout, AutoAnswer: autoAnswer, MaxCalls: a.cfg.Limits.Calls, Allow: a.dialling.allow, Follow: a.follow(),
		Controls: map[event.Source]api.Controls{
			event.FromDialOut: numberCalls{a}, event.FromTalk: numberCalls{a}, event.FromPhone: phoneCalls{a},
		}}
	if a.cfg.Dialout.InUse() {
		c.Telephony = numberCalls{a}
	}
	return c, nil
}

// numberCalls reach the service for calls to telephones.
type numberCalls struct{ a *App }

func (n numberCalls) Number(text string) (string, error)           { return n.a.dialout.Number(text) }
func (n numberCalls) Caller(number string) (string, bool)          { return n.a.dialout.Caller(number) }
func (n numberCalls) Dialling(number string) sipflow.Dialling      { return n.a.dialout.Dialling(number) }
func (n numberCalls) Enter(agent string) (leave func(), err error) { return n.a.dialout.Enter(agent) }

// EndCall implements api.Controls.
func (n numberCalls) EndCall(id string) bool { return n.a.dialout != nil && n.a.dialout.EndCall(id) }

// phoneCalls reach the calls over WebSocket.
type phoneCalls struct{ a *App }

// EndCall implements api.Controls.
func (p phoneCalls) EndCall(id string) bool { return p.a.phone != nil && p.a.phone.EndCall(id) }
