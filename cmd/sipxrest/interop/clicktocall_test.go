//go:build interop

package interop

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
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

// The same page of another origin, which allowed-origins has. Its user has told the
// browser his PIN; for a page of another host it would ask him again.
func TestTheExampleOfAPageThatCallsFromAnotherOrigin(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{Manual: true})
	page, err := os.ReadFile("../../../examples/click-to-call.html")
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	}))
	t.Cleanup(site.Close)
	s := l.Service("allowed-origins: ['" + site.URL + "']")
	page = bytes.Replace(page, []byte(`const base = ""`), []byte(`const base = "`+s.Secure+`"`), 1)
	tab := l.OpenTab(strings.Replace(s.Secure, "://", "://201:"+lab.Password+"@", 1) + "/v1/me")
	tab.Go(site.URL)
	tab.Eval(`(form.called.value = "202", form.requestSubmit())`)
	calling.AwaitRinging()
	tab.Until(`status.textContent`, "Your phone rings …")
	tab.Eval(`end.click()`)
	calling.AwaitOnHook()
	tab.Until(`end.disabled`, "true")
}
