package lab

import (
	"embed"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// talkPage is the page of a TalkUser.
//
//go:embed talkpage
var talkPage embed.FS

// TalkUser is a participant of a Talk conversation: a page in Chromium that
// speaks to the signaling server as Talk does, with WebRTC. Its microphone is a
// tone.
type TalkUser struct {
	Name string
	// Tone is the frequency of its audio in Hz.
	Tone float64

	lab *Lab
	tab *Tab
}

// Sound is a tone that is heard.
type Sound struct {
	Hertz float64 `json:"hertz"`
	Level float64 `json:"level"` // dBFS, of a single bin of the spectrum
}

// Received is what has come of somebody.
type Received struct {
	Codec         string
	Packets, Lost int
}

// TalkUser opens a page for a user of t, who is a moderator, and waits until it is
// in the call of a conversation. Without a tone it has no microphone.
func (l *Lab) TalkUser(t *Talk, token, name string, hz float64) *TalkUser {
	l.tb.Helper()
	u := &TalkUser{Name: name, Tone: hz, lab: l, tab: l.OpenTab(t.server + "/talkpage/participant.html")}
	l.tb.Cleanup(u.keepMessages)
	web := t.Cloud.Invite(name, true)
	settings, err := json.Marshal(map[string]any{"url": "ws" + strings.TrimPrefix(t.URL, "http") + "/spreed", "cloud": t.CloudURL, "user": name,
		"ticket": web.Ticket, "token": token, "hertz": hz, "silent": hz == 0})
	if err != nil {
		l.tb.Fatal(err)
	}
	u.tab.Eval("start(" + string(settings) + ")")
	return u
}

// keepMessages writes the page's messages into the lab's folder.
func (u *TalkUser) keepMessages() {
	text, err := u.tab.eval(`me.messages.join("\n")`)
	if err != nil {
		u.lab.tb.Errorf("participant %s: its messages: %v", u.Name, err)
		return
	}
	u.lab.write("participant-"+u.Name+".log", text)
}

// Hears are the tones that are heard of somebody: of a user, or of "phones".
func (u *TalkUser) Hears(whose string) (sounds []Sound) {
	u.lab.tb.Helper()
	u.json(fmt.Sprintf("tones(%q)", whose), &sounds)
	return sounds
}

// Received says what has come of somebody in the connection there is.
func (u *TalkUser) Received(whose string) (r Received) {
	u.lab.tb.Helper()
	u.json(fmt.Sprintf("received(%q)", whose), &r)
	return r
}

// Flags are those that phones are shown with, by the id of their call.
func (u *TalkUser) Flags() (flags map[string]int) {
	u.lab.tb.Helper()
	u.json("flags()", &flags)
	return flags
}

func (u *TalkUser) json(expression string, into any) {
	u.lab.tb.Helper()
	if err := json.Unmarshal([]byte(u.tab.Eval(expression)), into); err != nil {
		u.lab.tb.Fatalf("participant %s: %s: %v", u.Name, expression, err)
	}
}

// exact is how far a tone may be from what it should be, in Hz: sound that is
// too fast or slow by a hundredth is further.
const exact = 3

// AwaitHears waits until just these tones are heard of somebody, and that more of
// them comes. No tone: silence.
func (u *TalkUser) AwaitHears(whose string, tones ...float64) {
	u.lab.tb.Helper()
	u.AwaitHearsIn(Patience, whose, tones...)
}

// AwaitHearsIn is AwaitHears with a patience of its own.
func (u *TalkUser) AwaitHearsIn(patience time.Duration, whose string, tones ...float64) {
	u.lab.tb.Helper()
	var heard []Sound
	var got Received
	before := u.Received(whose).Packets
	u.lab.untilIn(patience, 50*time.Millisecond, func() string {
		return fmt.Sprintf("participant %s hears %v of %s, want %v; received %+v", u.Name, heard, whose, tones, got)
	}, func() bool {
		heard, got = u.Hears(whose), u.Received(whose)
		return areTones(heard, tones) && (len(tones) == 0 || got.Packets > 0 && got.Packets != before)
	})
}

// areTones reports whether sounds are these tones and no others.
func areTones(sounds []Sound, tones []float64) bool {
	return len(sounds) == len(tones) && !slices.ContainsFunc(tones, func(hz float64) bool {
		return !slices.ContainsFunc(sounds, func(s Sound) bool { return math.Abs(s.Hertz-hz) <= exact })
	})
}

// Control sends the phone of a call a moderator's order, and fails the test if the
// page does not know that phone.
func (u *TalkUser) Control(callID, data string) {
	u.lab.tb.Helper()
	if u.tab.Eval(fmt.Sprintf("control(%q, %s)", callID, data)) != "true" {
		u.lab.tb.Fatalf("participant %s sees no phone of call %s: %v", u.Name, callID, u.Flags())
	}
}

// Leave takes the participant out of the call and the conversation.
func (u *TalkUser) Leave() {
	u.lab.tb.Helper()
	u.tab.Eval("leave()")
}

// Sessions counts the sessions that the page has had: it takes another one when
// its media are lost.
func (u *TalkUser) Sessions() string {
	u.lab.tb.Helper()
	return u.tab.Eval("me.sessions")
}
