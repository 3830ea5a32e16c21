//go:build interop

package interop

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// consoleKey is the text of a key that may do everything.
const consoleKey = "sxk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// consoleService is a service with that key, which keeps the messages of its calls.
func consoleService(l *lab.Lab) *lab.Service {
	sum := sha256.Sum256([]byte(consoleKey))
	return l.Service("trace: {messages: all}", "events: {allow-private: [127.0.0.0/8]}",
		fmt.Sprintf(`api: {keys: [{name: console, sha256: %s, scopes: [admin], agents: ["*"]}]}`, hex.EncodeToString(sum[:])))
}

// consolePage is the console in a tab.
type consolePage struct {
	*lab.Tab
	t *testing.T
}

func openConsole(t *testing.T, l *lab.Lab, s *lab.Service) *consolePage {
	t.Helper()
	p := &consolePage{Tab: l.OpenTab(s.Secure + "/console"), t: t}
	p.Until(`(document.querySelector("#reload")?.click(), document.querySelector("form input[name=user]") !== null)`, "true")
	p.Size(1280, 900)
	return p
}

func (p *consolePage) signIn(user, pin string) {
	p.t.Helper()
	p.Eval(`document.querySelector("input[name=user]").select()`)
	p.Type(user + "\t" + pin + "\r") // as who has no mouse
}

// has waits until there is an element.
func (p *consolePage) has(selector string) {
	p.t.Helper()
	p.Until(fmt.Sprintf(`document.querySelector(%q) !== null`, selector), "true")
}

// can waits until a button or an input can be used.
func (p *consolePage) can(selector string) {
	p.t.Helper()
	p.Until(fmt.Sprintf(`document.querySelector(%q)?.disabled === false`, selector), "true")
}

// click clicks on what can be used.
func (p *consolePage) click(selector string) {
	p.t.Helper()
	p.can(selector)
	p.Eval(fmt.Sprintf(`document.querySelector(%q).click()`, selector))
}

// enter has an input say something, and tells the page.
func (p *consolePage) enter(selector, text string) {
	p.t.Helper()
	p.can(selector)
	p.Eval(fmt.Sprintf(`(e => (e.value = %q, ["input", "change"].map(type =>
		e.dispatchEvent(new Event(type, {bubbles: true})))))(document.querySelector(%q))`, text, selector))
}

// says waits until an element's text has another one in it.
func (p *consolePage) says(selector, text string) {
	p.t.Helper()
	p.Until(fmt.Sprintf(`(text => text?.includes(%[2]q) ? %[2]q : text)(document.querySelector(%[1]q)?.textContent)`, selector, text), text)
}

// look checks a view as it is now: axe finds nothing serious, nothing is wider than the
// page, on a screen and on a telephone, in the light and in the dark.
func (p *consolePage) look(name string) {
	p.t.Helper()
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		p.t.Fatal(err)
	}
	p.Load(string(axe))
	for _, size := range []struct {
		width, height int64
		colours       string
	}{{1280, 900, "light"}, {390, 844, "dark"}} {
		p.Size(size.width, size.height)
		p.Eval(fmt.Sprintf(`document.documentElement.dataset.colours = %q`, size.colours))
		p.Shot(fmt.Sprintf("console-%s-%d.png", name, size.width))
		if wide := p.Eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide != "0" {
			p.t.Errorf("%s is %s pixels wider than a page of %d", name, wide, size.width)
		}
		if found := p.Eval(`axe.run(document, {resultTypes: ["violations"]}).then(result => result.violations
			.filter(v => ["serious", "critical"].includes(v.impact))
			.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")).join("\n"))`); found != "" {
			p.t.Errorf("%s at %d, axe: %s", name, size.width, found)
		}
	}
	p.Size(1280, 900)
	p.Eval(`delete document.documentElement.dataset.colours`)
}

// A user signs in, tries a call, places it, does to it all that can be done, and looks
// at what became of it.
func TestConsolePlacesAndSteersACall(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{Manual: true})
	called := l.Phone("202", lab.PhoneConfig{Manual: true})
	target := l.Phone("203", lab.PhoneConfig{Manual: true})
	s := consoleService(l)
	p := openConsole(t, l, s)

	place := func(t *testing.T) {
		t.Helper()
		p.Eval(`location.hash = "#/call"`)
		p.enter("#dial input[name=called]", "202")
		p.has("#verdict [data-verdict]")
		p.Eval(`document.querySelector("#dial input[name=called]").focus()`)
		p.Type("\r")
		calling.AwaitRinging()
		p.says("#state", "Ringing: ")
		p.has(`.leg[data-leg=l1][data-state=ringing]`)
		calling.Answer()
		called.AwaitRinging()
		p.has(`.leg[data-leg=l2][data-state=ringing]`)
		called.Answer()
		inCall(calling, called)
		p.says("#state", "Both are connected.")
	}

	l.Run(t, "a wrong PIN, then the right one", func(t *testing.T) {
		p.look("signin")
		p.signIn("201", "wrong")
		p.says("form [role=alert]", "not right")
		p.signIn("201", lab.Password)
		p.has("#dial")
		if got := p.Eval(`[...document.querySelectorAll("#menu a")].map(a => a.textContent).join()`); got != "Call,Live calls,History,Health" {
			t.Errorf("the menu has %s", got)
		}
		if got := p.Eval(`document.querySelector("#dial").calling.value`); got != "201" {
			t.Errorf("%q calls", got)
		}
	})
	l.Run(t, "refused by the policy of the page", func(*testing.T) {
		p.Until(`(() => { try { document.body.insertAdjacentHTML("beforeend", "<b>x</b>"); return "made"; }
			catch (e) { return e.name; } })()`, "TypeError")
	})
	l.Run(t, "held, muted, digits, a transfer with consultation", func(t *testing.T) {
		place(t)
		p.look("call")
		p.click("#hold")
		p.says("#hold", "Resume")
		called.AwaitNothingHeard()
		p.click("#hold")
		p.says("#hold", "Hold")
		called.AwaitAudio()
		p.click("#mute")
		p.says("#mute", "Unmute")
		p.click("#mute")
		p.says("#mute", "Mute")
		p.enter("#digits", "12#")
		p.Eval(`document.querySelector("#digits").form.requestSubmit()`)
		p.says("#toasts", "Sent: 12#")

		p.enter("#to", "203")
		p.enter("#mode", "attended")
		p.click("#transfer")
		target.AwaitRinging()
		target.Answer()
		p.has("[data-transfer=consulting]")
		p.look("transfer")
		p.click("button.complete")
		calling.AwaitOnHook()
		p.has("[data-transfer=completed]")
		called.AwaitTalk()
		p.click("#hangup")
		called.AwaitOnHook()
		target.AwaitOnHook()
		p.says("#state", "ended")
		p.says("#end", "201")
	})
	l.Run(t, "a transfer at once", func(t *testing.T) {
		place(t)
		p.enter("#to", "203")
		p.click("#transfer")
		target.AwaitRinging()
		p.has("[data-transfer=ringing]")
		target.Answer()
		calling.AwaitOnHook()
		p.has("[data-transfer=completed]")
		target.HangUp()
		called.AwaitOnHook()
		p.says("#state", "ended")
	})
	l.Run(t, "a call that there is already", func(*testing.T) {
		p.Eval(`location.hash = "#/call"`)
		p.enter("#dial input[name=called]", "202")
		p.Eval(`document.querySelector("#dial").requestSubmit()`)
		calling.AwaitRinging()
		p.says("#state", "Ringing: ")
		p.Eval(`document.querySelector("#dial").requestSubmit()`)
		p.says("#refused", "already")
		p.click("#hangup")
		calling.AwaitOnHook()
	})
	l.Run(t, "signed out", func(t *testing.T) {
		p.click("#signout")
		p.has("form input[name=user]")
		if got := p.Eval(`sessionStorage.length + document.cookie`); got != "0" {
			t.Errorf("the tab keeps %s", got)
		}
	})
}

// An operator sees all calls, one in detail with its messages, the records, and how
// webhooks fare.
func TestConsoleShowsCallsAndHealth(t *testing.T) {
	t.Parallel()
	var status atomic.Int64
	status.Store(http.StatusGone)
	hooked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	t.Cleanup(hooked.Close)
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	s := consoleService(l)
	if a := s.Curl("--header", "Authorization: Bearer "+consoleKey, "--header", "Content-Type: application/json",
		"--data", `{"name":"crm","url":"`+hooked.URL+`"}`, s.Secure+"/v1/webhooks"); a.Code != 201 {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	p := openConsole(t, l, s)
	signInByKey(p.Tab, consoleKey)

	p.Eval(`location.hash = "#/live"`)
	p.says("#count", "go on: 0")
	id := place(t, s, `,"subject":"Deal 4711","tags":{"name":"<img src=x onerror=window.hacked=1>"}`)
	inCall(calling, called)
	p.has(`tr[data-call="` + id + `"][data-state=connected]`)
	p.look("live")
	p.enter("input[name=filter]", "nobody")
	p.Until(`document.querySelectorAll("#live tbody tr").length`, "0")
	p.enter("input[name=filter]", "4711")
	p.has(`tr[data-call="` + id + `"]`)
	p.Eval(`document.querySelector('tr[data-call="` + id + `"] a').click()`)
	p.says("#state", "Both are connected.")
	p.says("#traced", "Messages: ")
	called.HangUp()
	calling.AwaitOnHook()
	p.says("#state", "ended")
	p.has(`[data-event="call.ended"]`)
	p.Until(`[...document.querySelectorAll(".label")].some(e => e.textContent == "BYE")`, "true") // read again by itself
	ladderAndFiles(t, p)
	p.look("detail")

	p.Eval(`location.hash = "#/history"`)
	p.has(`tr[data-call="` + id + `"]`)
	p.look("history")
	p.enter("select[name=outcome]", "busy")
	p.Eval(`document.querySelector("#search").requestSubmit()`)
	p.says("#found", "No call was found.")
	p.enter("select[name=outcome]", "completed")
	p.Eval(`document.querySelector("#search").requestSubmit()`)
	p.has(`tr[data-call="` + id + `"]`)
	keepFiles(p)
	p.click("#csv")
	p.says("#toasts", "The file was made.")
	if got := p.Eval(`saved[0].text()`); !strings.HasPrefix(got, "call_id,start_time,") || !strings.Contains(got, id) {
		t.Errorf("the CSV is %q", got)
	}

	p.Eval(`location.hash = "#/health"`)
	p.enter("#probe input[name=calling]", "201")
	p.enter("#probe input[name=called]", "202")
	p.Eval(`document.querySelector("#probe").requestSubmit()`)
	p.has("#probed [data-verdict=no_objection]")
	l.Until("the webhook is disabled", func() bool {
		p.click("#webhooks .head button")
		return p.Eval(`document.querySelector("[data-hook=crm] .badge.disabled") !== null`) == "true"
	})
	p.click("button.deliveries")
	p.has("#letters tbody tr")
	p.look("health")
	status.Store(http.StatusOK)
	p.click("button.enable")
	p.has("[data-hook=crm] .badge.ok")
	p.click("button.test")
	p.says("#toasts", "crm has taken the test")

	p.enter("#language", "de")
	p.says("h1", "Zustand")
	p.Eval(`location.hash = "#/calls/` + id + `"`)
	p.says("#end", "Ein Teilnehmer hat aufgelegt.")
	p.look("detail-de")
	if got := p.Eval(`typeof window.hacked + document.querySelectorAll("img").length`); got != "undefined0" {
		t.Errorf("a tag was run: %s", got)
	}
}

// keepFiles has the page keep what it would save.
func keepFiles(p *consolePage) {
	p.Eval(`(window.saved = [], URL.createObjectURL = file => (saved.push(file), "#"),
		HTMLAnchorElement.prototype.click = function() { if (!this.download) HTMLElement.prototype.click.call(this); }, 0)`)
}

// ladderAndFiles looks at the messages of a call that is over.
func ladderAndFiles(t *testing.T, p *consolePage) {
	t.Helper()
	labels := p.Eval(`[...document.querySelectorAll(".label")].map(e => e.textContent).join()`)
	for _, want := range []string{"INVITE", "180 Ringing", "200 OK", "ACK", "BYE"} {
		if !strings.Contains(labels, want) {
			t.Errorf("the ladder lacks %s: %s", want, labels)
		}
	}
	p.Eval(`document.querySelector(".arrow").dispatchEvent(new MouseEvent("click"))`)
	got := p.Eval(`document.querySelector("#m0").open + document.querySelector("#m0 pre").textContent.split(" ", 1)[0]`)
	if got != "trueINVITE" {
		t.Errorf("the first message is %s", got)
	}
	keepFiles(p)
	p.click("#save-pcap")
	p.Until(`saved.length`, "1")
	if got := p.Eval(`saved[0].arrayBuffer().then(b => new DataView(b).getUint32(0).toString(16))`); got != "d4c3b2a1" && got != "a1b2c3d4" {
		t.Errorf("the capture file begins with %s", got)
	}
	p.click("#save-text")
	p.Until(`saved.length`, "2")
	if got := p.Eval(`saved[1].text()`); !strings.Contains(got, "INVITE sip:") {
		t.Errorf("the text is %q", got)
	}
}
