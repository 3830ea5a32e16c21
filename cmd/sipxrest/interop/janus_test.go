//go:build interop

package interop

import (
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// The lab itself: without sipxrest, two browsers hear each other through Janus, and
// again after it was restarted or killed.
func TestTalkParticipantsHearEachOtherThroughJanus(t *testing.T) {
	t.Parallel()
	lab.NeedNamespaces(t)
	l := lab.Start(t, nil)
	janus := l.Janus()
	talk := l.TalkWith(janus)
	alice := l.TalkUser(talk, conversation, "alice", 600)
	bob := l.TalkUser(talk, conversation, "bob", 1000)
	alice.AwaitHears("bob", bob.Tone)
	bob.AwaitHears("alice", alice.Tone)
	if got := bob.Received("alice").Codec; got != "audio/opus" {
		t.Errorf("bob receives %q", got)
	}
	for _, end := range []func(){janus.Stop, janus.Kill} {
		end()
		alice.AwaitHears("bob")
		janus.Start()
		alice.AwaitHearsIn(recovery, "bob", bob.Tone)
		bob.AwaitHearsIn(recovery, "alice", alice.Tone)
	}
	bob.Leave()
	alice.AwaitHears("bob")
	alice.Leave()
	talk.Until("nothing is published", lab.Patience, func() bool {
		publishers, heard := talk.Cloud.Published(conversation)
		return publishers == 0 && heard == 0
	})
}

// recovery is how long it may take until all hear each other again once Janus is back.
const recovery = 30 * time.Second
