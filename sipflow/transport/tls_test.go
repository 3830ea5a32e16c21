package transport

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"testing"
)

func TestFailedHandshakesSayWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{context.DeadlineExceeded, "does it speak TLS on this port"},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, "does it speak TLS on this port"},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "does not speak TLS there"},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, "if it wants a certificate"},
	} {
		if got := ExplainHandshake(tt.err); !strings.Contains(got.Error(), tt.want) || !strings.Contains(got.Error(), tt.err.Error()) {
			t.Errorf("%v is told as %v, want %s", tt.err, got, tt.want)
		}
	}
}
