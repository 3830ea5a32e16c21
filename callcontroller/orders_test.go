package callcontroller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sipxrest/policy"
	"sipxrest/sipflow"
)

func TestWhatATransferAndADeleteAskFor(t *testing.T) {
	for _, tt := range []struct{ method, target, want string }{
		{"POST", "201/202?action=transfer&target=203",
			"transfer 201@sipx.test:201@sipx.test:202@sipx.test to 201@sipx.test:203@sipx.test:202@sipx.test by 203@sipx.test"},
		{"POST", "bob/202?action=Transfer&target=alice&agent=alice&sipMethod=FOO",
			"transfer 200@sipx.test:201@sipx.test:202@sipx.test to 200@sipx.test:200@sipx.test:202@sipx.test by alice@sipx.test"},
		{"POST", "201/202?action=transfer&target=sip:x@Other.example",
			"transfer 201@sipx.test:201@sipx.test:202@sipx.test to 201@sipx.test:x@other.example:202@sipx.test by x@Other.example"},
		{"POST", "201/202?action=transfer&target=tel:%2B1-55&target=203",
			"transfer 201@sipx.test:201@sipx.test:202@sipx.test to 201@sipx.test:+155@sipx.test:202@sipx.test by +155@sipx.test"},
		{"DELETE", "201/202", "hang up 201@sipx.test:201@sipx.test:202@sipx.test"},
		{"DELETE", "bob/alice/?agent=alice&action=transfer", "hang up 200@sipx.test:201@sipx.test:200@sipx.test"},
	} {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			b := newBench(t, Config{}, nil)
			b.refuse = nil
			if w := b.do(tt.method, "/callcontroller/"+tt.target); w.Code != 200 || w.Body.Len() != 0 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if diff := cmp.Diff([]string{tt.want}, b.orders); diff != "" || b.placed() != 0 {
				t.Errorf("%d calls placed; orders (-want +got):\n%s", b.placed(), diff)
			}
		})
	}
}

func TestWhyATransferOrADeleteFails(t *testing.T) {
	const transfer = "POST /callcontroller/201/202?action=transfer&target=203"
	for _, tt := range []struct {
		request    string
		err        error
		status     int
		code, text string
	}{
		{transfer, fmt.Errorf("x: %w", sipflow.ErrNoCall), 406, "403", "Call not found."},
		{transfer, sipflow.ErrTransferring, 406, "403", "Transfer in progress."},
		{transfer, fmt.Errorf("x: %w", sipflow.ErrUnreachable), 502, "502", "The SIP server of the target cannot be reached"},
		{transfer, context.DeadlineExceeded, 502, "502", "The SIP server of the target cannot be reached in time"},
		{transfer, sipflow.ErrDraining, 503, "503", "The service is shutting down, try again later"},
		{transfer, errors.New("secret"), 500, "500", "The call could not be transferred: an internal error, see the log of the service"},
		{transfer, fmt.Errorf("x: %w: %w", sipflow.ErrForbidden, &policy.Refusal{Target: "+19005551234", Policy: "no-premium", Rule: 2,
			Term: "premium"}), 403, "403",
			"dialling +19005551234 is refused by policy no-premium, rule 2: premium"},
		{"POST /callcontroller/201/202", fmt.Errorf("x: %w", sipflow.ErrForbidden), 403, "403", "The call is not allowed"},
		{"DELETE /callcontroller/201/202", sipflow.ErrNoCall, 404, "404", "Call not found."},
		{"DELETE /callcontroller/201/202", errors.New("secret"), 500, "500", "The call could not be hung up: an internal error, see the log " +
			"of the service"},
		{"POST /callcontroller/201/202?sipMethod=InVite", fmt.Errorf("place: %w", sipflow.ErrInProgress), 406, "403",
			"Call in progress InVite not supported"},
	} {
		var log bytes.Buffer
		b := newBench(t, Config{}, &log)
		b.fail, b.refuse = tt.err, tt.err
		method, target, _ := strings.Cut(tt.request, " ")
		w := b.do(method, target)
		if w.Code != tt.status || w.Body.String() != xmlError(tt.code, tt.text) {
			t.Errorf("%s, %v: %d %s", tt.request, tt.err, w.Code, w.Body)
		}
		if logged := log.Len() > 0; logged != (tt.status >= 500) {
			t.Errorf("%s, %v: log %s", tt.request, tt.err, log.String())
		}
	}
}
