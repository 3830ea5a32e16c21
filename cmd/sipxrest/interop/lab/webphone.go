package lab

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"time"
)

// webphone is JsSIP 3.13.8 and the page that uses it.
//
//go:embed webphone
var webphone embed.FS

// WebPhone is a phone in a browser: JsSIP on a page in Chromium, registered over
// the WebSocket of a secure lab's proxy. It speaks WebRTC (ICE, DTLS-SRTP), which
// it insists on.
type WebPhone struct {
	// User is the account's user part.
	User string
	// Tone is the frequency of its audio in Hz.
	Tone float64

	lab *Lab
	tab *Tab
}

// WebCall is a call as the page tells it.
type WebCall struct {
	// Incoming is true when the phone was called.
	Incoming bool
	// Peer is the other side's user.
	Peer string
	// ID is JsSIP's, which begins with the Call-ID.
	ID string
	// State is "ringing" (here), "calling", "talking" or "ended".
	State string
	// Cause is who ended it, the response if there was one, and JsSIP's word for it.
	Cause string
	// Held is who holds it, "local" or "remote".
	Held string
}

// WebPhone opens a page for user and waits until it is registered. It answers by
// itself unless manual; then it does only when a call that was answered comes again
// with WebRTC. hz is its tone.
func (l *Lab) WebPhone(user string, hz float64, manual bool) *WebPhone {
	l.tb.Helper()
	files, err := fs.Sub(webphone, "webphone")
	if err != nil {
		l.tb.Fatal(err)
	}
	site := httptest.NewServer(http.FileServerFS(files))
	l.tb.Cleanup(site.Close)
	p := &WebPhone{User: user, Tone: hz, lab: l, tab: l.OpenTab(site.URL + "/phone.html")}
	l.tb.Cleanup(p.keepMessages)
	settings, err := json.Marshal(map[string]any{"url": "ws://" + l.Proxy.Addr, "user": user, "domain": Domain, "password": Password,
		"hertz": hz, "manual": manual})
	if err != nil {
		l.tb.Fatal(err)
	}
	p.tab.Eval("start(" + string(settings) + ")")
	return p
}

// keepMessages writes the phone's messages into the lab's folder.
func (p *WebPhone) keepMessages() {
	text, err := p.tab.eval(`phone.messages.join("\n")`)
	if err != nil {
		p.lab.tb.Errorf("web phone %s: its messages: %v", p.User, err)
		return
	}
	p.lab.write("webphone"+p.User+".log", text)
}

// Dial makes the phone call user.
func (p *WebPhone) Dial(user string) {
	p.lab.tb.Helper()
	p.tab.Eval(fmt.Sprintf("call(%q, %q)", user, Domain))
}

// Answer takes the call that rings.
func (p *WebPhone) Answer() { p.lab.tb.Helper(); p.tab.Eval("answer()") }

// HangUp ends the newest call; a call that rings is refused with 480.
func (p *WebPhone) HangUp() { p.lab.tb.Helper(); p.tab.Eval("hangUp()") }

// Hold puts the call on hold, Resume takes it back. Both wait until the other
// side has agreed.
func (p *WebPhone) Hold()   { p.lab.tb.Helper(); p.tab.Eval("hold()") }
func (p *WebPhone) Resume() { p.lab.tb.Helper(); p.tab.Eval("unhold()") }

// Calls returns all calls since the page was opened, oldest first.
func (p *WebPhone) Calls() (calls []WebCall) {
	p.lab.tb.Helper()
	if err := json.Unmarshal([]byte(p.tab.Eval("calls()")), &calls); err != nil {
		p.lab.tb.Fatalf("web phone %s: %v", p.User, err)
	}
	return calls
}

// Await waits until the phone has a call that fits, and returns the newest.
func (p *WebPhone) Await(what string, fits func(WebCall) bool) (call WebCall) {
	p.lab.tb.Helper()
	var calls []WebCall
	p.lab.until(50*time.Millisecond, func() string { return fmt.Sprintf("web phone %s: %s; its calls: %+v", p.User, what, calls) }, func() bool {
		calls = p.Calls()
		for _, c := range slices.Backward(calls) {
			if fits(c) {
				call = c
				return true
			}
		}
		return false
	})
	return call
}

// AwaitRinging waits until a call rings at the phone.
func (p *WebPhone) AwaitRinging() WebCall {
	p.lab.tb.Helper()
	return p.Await("rings", func(c WebCall) bool { return c.State == "ringing" })
}

// AwaitInCallWith waits until the phone talks to user.
func (p *WebPhone) AwaitInCallWith(user string) WebCall {
	p.lab.tb.Helper()
	return p.Await("is in a call with "+user, func(c WebCall) bool { return c.State == "talking" && c.Peer == user })
}

// AwaitOnHook waits until the phone has had n calls and all of them are over,
// and returns the newest.
func (p *WebPhone) AwaitOnHook(n int) (last WebCall) {
	p.lab.tb.Helper()
	var calls []WebCall
	p.lab.until(50*time.Millisecond, func() string { return fmt.Sprintf("web phone %s: %d calls are over; its calls: %+v", p.User, n, calls) }, func() bool {
		calls = p.Calls()
		return len(calls) >= n && !slices.ContainsFunc(calls, func(c WebCall) bool { return c.State != "ended" })
	})
	if n == 0 {
		return WebCall{}
	}
	return calls[len(calls)-1]
}

// AwaitTone waits until the phone hears a tone of hz, which is somebody's, and
// that more of it comes.
func (p *WebPhone) AwaitTone(hz float64, whose string) {
	p.lab.tb.Helper()
	was := p.number("packets()")
	var heard float64
	p.lab.until(50*time.Millisecond, func() string {
		return fmt.Sprintf("web phone %s hears %.0f Hz, want the %.0f Hz of %s; %.0f packets have come; its calls: %+v",
			p.User, heard, hz, whose, p.number("packets()"), p.Calls())
	}, func() bool {
		heard = p.number("hears()")
		return heard > hz-15 && heard < hz+15 && p.number("packets()") > was
	})
}

// AwaitSilence waits until the phone hears nothing.
func (p *WebPhone) AwaitSilence() {
	p.lab.tb.Helper()
	p.lab.until(50*time.Millisecond, func() string { return fmt.Sprintf("web phone %s: silence", p.User) }, func() bool { return p.number("hears()") == 0 })
}

func (p *WebPhone) number(expression string) float64 {
	p.lab.tb.Helper()
	n, err := strconv.ParseFloat(p.tab.Eval(expression), 64)
	if err != nil {
		p.lab.tb.Fatalf("web phone %s: %s: %v", p.User, expression, err)
	}
	return n
}
