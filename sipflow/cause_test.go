package sipflow

import (
	"errors"
	"fmt"
	"testing"
)

func TestCauses(t *testing.T) {
	sent := func(code int, reason, cause string) error {
		return fmt.Errorf("INVITE sip:202@sipx.test: %w", &sentError{&StatusError{"INVITE", code, reason}, cause})
	}
	tests := []struct {
		err  error
		want string // code, synthesized, method, cause, from a header, lost, elsewhere
	}{
		{nil, "0 false  0 false false"},
		{sent(486, "Busy Here", ""), "486 false INVITE 17 false false"},
		{sent(486, "Busy Here", "Reason: Q.850;cause=34;text=\"No circuit\"\r\n"), "486 false INVITE 34 true false"},
		{sent(480, "Away", "Reason: q.850 ; cause=20\r\n"), "480 false INVITE 20 true false"},
		{sent(487, "Request Terminated", ""), "487 false INVITE 0 false false"},
		{sent(488, "Not Acceptable Here", ""), "488 false INVITE 0 false false"},
		{sent(500, "x", "Reason: Q.850;cause=999\r\n"), "500 false INVITE 41 false false"},
		{sent(500, "x", "Reason: Q.850;cause=-1\r\n"), "500 false INVITE 41 false false"},
		{hungUpFor(""), "0 false BYE 0 false false"},
		{hungUpFor("Reason: SIP;cause=200, Q.850;cause=16\r\n"), "0 false BYE 16 true false"},
		{hungUpFor("Reason: SIP;cause=200\r\nReason: Q.850;cause=31\r\n"), "0 false BYE 31 true false"},
		{&cancelledError{"Reason: Q.850;cause=26\r\n"}, "0 false CANCEL 26 true false"},
		{&cancelledError{"Reason: Q.850;cause=26, sip ; cause=200 ;text=\"Call completed elsewhere\"\r\n"},
			"0 false CANCEL 26 true false elsewhere"},
		{&cancelledError{"Reason: SIP;cause=200\r\n"}, "0 false CANCEL 0 false false elsewhere"},
		{&cancelledError{"Reason: SIP;cause=487;text=\"cause=200\"\r\nReason: X;cause=200\r\n"}, "0 false CANCEL 0 false false"},
		{&StatusError{"INVITE", 408, "Request Timeout"}, "408 true INVITE 102 false false"},
		{sent(408, "Request Timeout", ""), "408 false INVITE 102 false false"},
		{fmt.Errorf("INVITE: %w", ErrNoAnswer), "408 true INVITE 102 false false"},
		{errNoNotify, "408 true NOTIFY 102 false false"},
		{errExpired, "408 true UPDATE 102 false true"},
		{errNoAck, "408 true ACK 102 false true"},
		{errors.Join(ErrUnreachable, sent(503, "x", "")), "0 false  0 false false"},
		{&ClientHangUp{17, "User busy"}, "0 false  17 true false"},
		{ErrHungUpByUser, "0 false  0 false false"},
	}
	for _, tt := range tests {
		c := CauseOf(tt.err)
		got := fmt.Sprintf("%d %v %s %d %v %v", c.Code, c.Synthesized, c.Method, c.Q850, c.Q850Header, c.Lost)
		if c.Elsewhere {
			got += " elsewhere"
		}
		if got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
		if (c.Q850 == 0) != (c.Q850Text == "") {
			t.Errorf("%v: the cause %d is called %q", tt.err, c.Q850, c.Q850Text)
		}
	}
}
