package sipflow

import (
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

const minute = time.Minute

// lateReports has a phone that was referred take its time.
func lateReports() siptest.Refer {
	return siptest.Refer{Notify: []siptest.Notify{{Line: "SIP/2.0 100 Trying"}, {After: 40 * time.Second, Line: "SIP/2.0 180 Ringing"},
		{After: 50 * time.Second, Line: "SIP/2.0 200 OK", State: "terminated;reason=noresource"}}}
}

// transfers has the call transferred to 203 before its node dies.
func transfers(mode string) func(t *testing.T, c *cluster, call *Call) {
	return func(t *testing.T, c *cluster, call *Call) {
		time.Sleep(5 * time.Second)
		var err error
		if mode == TransferAttended {
			_, err = call.AttendedTransfer(t.Context(), CallingParty, "203@sipx.test", false)
		} else {
			_, err = call.BlindTransfer(t.Context(), CallingParty, "203@sipx.test", false)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// clientEnds has a client end the call at the heir.
func clientEnds(t *testing.T, _ *cluster, call *Call) { call.HangUp(ErrHungUpByUser); <-call.Done() }

// numberOf201 is a number whose phone is that of 201, and which is joined with 202.
func numberOf201() *Dialling {
	return &Dialling{Gateway: "sip:" + phoneAddr, Number: "+4930123456", Caller: "+493012345", Target: "sip:202@sipx.test"}
}

var lostCases = []lostCase{
	{name: "inviting", flow: Refer, calling: siptest.Script{Ringing: -1, Ring: minute}, at: time.Second},
	{name: "refer-ringing", flow: Refer, calling: siptest.Script{Ring: minute}, at: time.Second},
	{name: "refer-next", flow: Refer, calling: siptest.Script{Refer: siptest.Refer{Silent: true}}, at: time.Second},
	{name: "referred", flow: Refer, calling: siptest.Script{Refer: lateReports()}, at: time.Second},
	{name: "referred-without-update", flow: Refer, calling: siptest.Script{Refer: lateReports(),
		Allow: "INVITE, ACK, BYE, REFER"}, at: time.Second},
	{name: "referred-gone", flow: Refer, calling: siptest.Script{Refer: lateReports(), HangUpAfter: 3 * time.Second}, at: time.Second},
	{name: "second-ringing", flow: Invite, called: siptest.Script{Ring: minute}, at: 2 * time.Second},
	{name: "second-picks-up", flow: Invite, called: siptest.Script{Ring: 4 * time.Second}, at: 2 * time.Second},
	{name: "joining", flow: Invite, calling: siptest.Script{Reinvite: siptest.Reinvite{After: minute}}, at: 2 * time.Second},
	{name: "dial-ringing", flow: Dial, dial: numberOf201(), calling: siptest.Script{Ring: minute}, at: time.Second},
	{name: "dial-bridged", flow: Dial, dial: numberOf201(), called: siptest.Script{HangUpAfter: minute}, at: 2 * time.Second},
	{name: "bridged", flow: Invite, called: siptest.Script{HangUpAfter: minute}, at: 2 * time.Second},
	{name: "bridged-without-update", flow: Invite, calling: siptest.Script{Allow: "INVITE, ACK, BYE"},
		called: siptest.Script{Allow: "INVITE, ACK, BYE"},
		at:     2 * time.Second, after: clientEnds},
	{name: "bridged-calling-gone", flow: Invite, calling: siptest.Script{HangUpAfter: 4 * time.Second}, at: 2 * time.Second},
	{name: "bridged-called-gone", flow: Invite, called: siptest.Script{HangUpAfter: 4 * time.Second, Allow: "INVITE, ACK, BYE"},
		at: 2 * time.Second},
	// 202 has put 201 on hold, and 201 thinks about it while the node dies: 202 waits for ever.
	{name: "bridged-within-reinvite", loose: true, flow: Invite,
		calling: siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}},
		during: func(t *testing.T, c *cluster, _ *Call) {
			time.Sleep(10 * time.Second)
			go c.phones[1].Do(t.Context(), siptest.Action{Method: "INVITE", Body: held("10.0.0.3")}) //nolint:errcheck // its node dies
		}, at: time.Second},
	{name: "transfer-ringing", flow: Invite, third: &siptest.Script{Ring: minute}, during: transfers(TransferBlind),
		at: 2 * time.Second, after: clientEnds},
	{name: "transfer-attended-ringing", flow: Invite, third: &siptest.Script{Ring: minute}, during: transfers(TransferAttended),
		at: 2 * time.Second, after: clientEnds},
	{name: "transfer-consulting", flow: Invite, third: &siptest.Script{}, during: transfers(TransferAttended),
		at: 2 * time.Second, after: clientEnds},
	{name: "transferred", flow: Invite, third: &siptest.Script{}, during: transfers(TransferBlind), at: 2 * time.Second,
		after: clientEnds},
}
