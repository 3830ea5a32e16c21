package callcontroller

import (
	"testing"

	"sipxrest/sipflow"
)

// Nobody may have the phone of another pick up by itself, and nobody at all
// where the operator has not said how.
func TestAutoAnswerIsForOnesOwnPhone(t *testing.T) {
	for _, tt := range []struct {
		way    sipflow.AutoAnswer
		target string
		status int
		body   string
		want   sipflow.AutoAnswer
	}{
		{sipflow.CallInfo, "201/202?autoAnswer=TRUE", 200, "", sipflow.CallInfo},
		{sipflow.CallInfo, "bob/202?autoAnswer=true&sipMethod=invite", 200, "", sipflow.CallInfo}, // an alias of 201
		{sipflow.CallInfo, "201/202?autoAnswer=true&agent=bob", 200, "", sipflow.CallInfo},
		{sipflow.CallInfo, "201/202", 200, "", sipflow.NoAutoAnswer},
		{sipflow.CallInfo, "201/202?autoAnswer=1", 200, "", sipflow.NoAutoAnswer},
		{sipflow.CallInfo, "202/203?autoAnswer=true&agent=201", 403,
			xmlError("403", "autoAnswer is for the phone of the agent: the calling user is another"), 0},
		{sipflow.CallInfo, "201@other.test/203?autoAnswer=true&agent=201", 403,
			xmlError("403", "autoAnswer is for the phone of the agent: the calling user is another"), 0},
		{sipflow.CallInfo, "201/202?autoAnswer=true&isForwardingAllowed=false", 200, "", sipflow.CallInfo},
		{sipflow.CallInfo, "201/202?autoAnswer=True&isForwardingAllowed=TRUE", 400,
			xmlError("400", "Bad parameter autoAnswer = true with isForwardingAllowed = true: the phone that picks up could be another's"), 0},
		{sipflow.NoAutoAnswer, "201/202?autoAnswer=false", 200, "", sipflow.NoAutoAnswer},
		{sipflow.NoAutoAnswer, "201/202?autoAnswer=true", 400, xmlError("400", "Bad parameter autoAnswer = true, call.auto-answer is off"), 0},
	} {
		t.Run(tt.target, func(t *testing.T) {
			b := newBench(t, Config{AutoAnswer: tt.way}, nil)
			w := b.do("POST", "/callcontroller/"+tt.target)
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if tt.status != 200 {
				if b.placed() != 0 {
					t.Error("a call was placed")
				}
				return
			}
			if got := b.last(t).AutoAnswer; got != tt.want {
				t.Errorf("asked for %d, want %d", got, tt.want)
			}
		})
	}
}
