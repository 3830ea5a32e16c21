//go:build interop

package interop

import (
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// The page of examples places a call of its user, shows how it gets on, and hangs
// up. What is refused it shows in the words of the API.
func TestTheExampleOfAPageThatCalls(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{Manual: true})
	called := l.Phone("202", lab.PhoneConfig{Manual: true})
	s := l.Service()
	portal := l.Portal(s, "../../../examples/click-to-call.html")
	tab := portal.LogIn("201")
	const shown, canEnd = `status.textContent`, `!end.disabled`

	place := func(number string) {
		t.Helper()
		tab.Eval(`(form.called.value = "` + number + `", form.requestSubmit())`)
	}
	l.Run(t, "from the ring to the end by the page", func(t *testing.T) {
		place("202")
		calling.AwaitRinging()
		tab.Until(shown, "Your phone rings …")
		tab.Until(canEnd, "true")
		calling.Answer()
		called.AwaitRinging()
		tab.Until(shown, "Calling …")
		called.Answer()
		inCall(calling, called)
		tab.Until(shown, "You are connected.")
		tab.Eval(`end.click()`)
		calling.AwaitOnHook()
		called.AwaitOnHook()
		tab.Until(canEnd, "false")
		if text := tab.Eval(shown); !strings.Contains(text, "201") || strings.Contains(text, "…") {
			t.Errorf("the page shows %q in the end", text)
		}
	})
	l.Run(t, "refused by the called phone, after the stream was cut", func(t *testing.T) {
		place("202")
		calling.AwaitRinging()
		tab.Until(shown, "Your phone rings …")
		portal.CutAll() // the page gets another ticket, and goes on where it was
		calling.Answer()
		called.AwaitRinging()
		called.HangUp()
		calling.AwaitOnHook()
		tab.Until(canEnd, "false")
		if text := tab.Eval(shown); !strings.HasPrefix(text, "202 is busy.") {
			t.Errorf("the page shows %q", text)
		}
	})
	l.Run(t, "a call that there is already", func(t *testing.T) {
		place("202")
		calling.AwaitRinging()
		tab.Until(shown, "Your phone rings …")
		place("202")
		l.Until("the refusal", func() bool { return strings.Contains(tab.Eval(shown), "is already calling 202") })
		tab.Eval(`end.click()`)
		calling.AwaitOnHook()
	})
}
