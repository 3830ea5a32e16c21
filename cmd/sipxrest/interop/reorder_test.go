//go:build interop

package interop

import (
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// A proxy with many workers (Kamailio starts 8) passes on what follows an ACK
// too closely before the ACK. A phone that is referred before its call is up
// may tell a wrong outcome.
func TestReferDoesNotOvertakeTheAck(t *testing.T) {
	t.Parallel()
	l := lab.StartWorkers(t, nil, 8)
	calling := l.Phone("201", lab.PhoneConfig{})
	s := l.Service()
	for call := range 60 {
		s.Post("/callcontroller/201/299")
		calling.AwaitClosed(calling.AwaitNthCall(2 * call).ID)
		calling.AwaitOnHook()
		s.AwaitStatus("/callcontroller/201/299", challenged, trying, ringing, answered, referred, "NOTIFY 404 Not Found")
	}
}
