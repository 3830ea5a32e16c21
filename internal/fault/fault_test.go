package fault

import (
	"errors"
	"testing"
)

func TestAFaultIsToldOnce(t *testing.T) {
	mistake := errors.New("sip.listen is empty")
	for _, tt := range []struct {
		fault Fault
		want  string
	}{
		{Fault{Key: "trunks", Err: mistake}, "trunks: sip.listen is empty"},
		{Fault{Key: "sip.listen", Err: mistake, Told: true}, "sip.listen is empty"},
		{Fault{Line: 7, Err: mistake}, "sip.listen is empty"},
	} {
		if got := tt.fault.Error(); got != tt.want || !errors.Is(&tt.fault, mistake) {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
