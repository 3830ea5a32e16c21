//go:build interop

package interop

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/talk/talktest"
)

const (
	pin      = "1234567"
	dialInTo = `dispatch:
  trunks: [{name: kamailio, sources: [127.0.0.1]}]
  rules:
  - {id: menu, numbers: ["5000"], action: transfer, transfer_to: "talk:"}
  - {id: room, numbers: ["5001"], action: transfer, transfer_to: "talk:` + conversation + `"}
  - {id: direct, numbers: ["5002"], action: transfer, transfer_to: "talk:direct"}
dialin: {language: en, time: 60s}`
)

// dials has a phone call a number, and waits until it is answered.
func (l *audioLab) dials(p *lab.Phone, number string) {
	l.t.Helper()
	p.Dial(number)
	p.AwaitInCallWith(number)
}

// joined waits until a caller is in the conversation, and it and alice hear each other.
func (l *audioLab) joined(p *lab.Phone) (id string) {
	l.t.Helper()
	l.Until("the caller is shown", func() bool { return len(l.talk.Cloud.Phones(conversation)) == 1 })
	l.alice.AwaitHears("phones", p.Tone)
	p.AwaitSounds([]float64{l.alice.Tone}, p.Tone)
	return l.talk.Cloud.Phones(conversation)[0]
}

// set sets what Nextcloud knows of it: a PIN for one participant.
func (l *audioLab) set(change func(*talktest.Conversation)) {
	l.talk.Cloud.Set(conversation, func(c *talktest.Conversation) {
		c.Name, c.SIP, c.PINs = "Weekly", 1, map[string]talktest.Person{pin: {ActorID: "carol"}}
		c.Lobby, c.Recording = false, 0
		if change != nil {
			change(c)
		}
	})
}

// Telephones call in, with digits by RFC 4733.
func TestTelephonesCallInToTalk(t *testing.T) {
	t.Parallel()
	l := newAudioLab(t, dialInTo)
	l.set(nil)
	phone := l.Phone("202", lab.PhoneConfig{Tone: 440})
	wideband := l.Phone("203", lab.PhoneConfig{Tone: 760, G722: true})

	l.Run(t, "with a meeting ID and a PIN", func(t *testing.T) {
		l.dials(phone, "5000")
		phone.Press(conversation + "#")
		phone.Press(pin + "#")
		id := l.joined(phone)
		phone.Press("*6")
		l.alice.AwaitHears("phones")
		l.flags(id, 1)
		phone.Press("*6")
		l.alice.AwaitHears("phones", phone.Tone)
		l.flags(id, 0)
		phone.Press("*7")
		l.flags(id, 8)
		l.alice.Control(id, `{type: "mute", audio: 1}`)
		l.alice.AwaitHears("phones")
		l.alice.Control(id, `{type: "mute", audio: 0}`)
		l.alice.AwaitHears("phones", phone.Tone)
		phone.Press("*9")
		l.over(phone)
	})
	l.Run(t, "with a wrong PIN", func(t *testing.T) {
		l.dials(phone, "5000")
		phone.Press(conversation + "#")
		for range 3 {
			phone.Press("7654321#")
		}
		phone.AwaitOnHook()
		if got := l.talk.Cloud.Phones(conversation); len(got) > 0 {
			t.Errorf("phones in the conversation: %q", got)
		}
		l.over(phone)
	})
	l.Run(t, "while the lobby is closed", func(t *testing.T) {
		l.set(func(c *talktest.Conversation) { c.Lobby = true })
		l.dials(wideband, "5001")
		wideband.Press(pin + "#")
		asked := len(l.talk.Cloud.Requests())
		l.Until("Nextcloud is asked again", func() bool { return len(l.talk.Cloud.Requests()) > asked })
		if got := l.talk.Cloud.Phones(conversation); len(got) > 0 {
			t.Errorf("phones in the conversation: %q", got)
		}
		l.alice.AwaitHears("phones")
		l.set(nil)
		l.joined(wideband)
		wideband.HangUp()
		l.over(wideband)
	})
	l.Run(t, "that is recorded", func(t *testing.T) {
		l.set(func(c *talktest.Conversation) { c.Recording = 1 })
		l.dials(phone, "5001")
		phone.Press(pin + "#")
		phone.Press("1")
		l.joined(phone)
		phone.HangUp()
		l.over(phone)
	})
	l.Run(t, "as a guest without a PIN", func(t *testing.T) {
		l.set(func(c *talktest.Conversation) { c.SIP = 2 })
		l.dials(wideband, "5000")
		wideband.Press(conversation + "#")
		wideband.Press("#")
		l.joined(wideband)
		wideband.HangUp()
		l.over(wideband)
	})
	l.Run(t, "directly to a user", func(t *testing.T) {
		l.talk.Cloud.Number("5002", "dave")
		before := l.talk.Cloud.Conversations()
		l.dials(phone, "5002")
		token := ""
		l.Until("a conversation for the call", func() bool {
			for _, c := range l.talk.Cloud.Conversations() {
				if !slices.Contains(before, c) {
					token = c
				}
			}
			return token != ""
		})
		dave := l.TalkUser(l.talk, token, "dave", 1000)
		dave.AwaitHears("phones", phone.Tone)
		phone.AwaitSounds([]float64{dave.Tone}, phone.Tone, l.alice.Tone)
		dave.Leave()
		phone.HangUp()
		phone.AwaitOnHook()
		l.Until("nothing is left", func() bool {
			publishers, heard := l.talk.Cloud.Published(token)
			return publishers+heard+l.talk.Cloud.BridgesIn(token)+len(l.talk.Cloud.Phones(token)) == 0
		})
	})
	l.Run(t, "until it is ended for everyone", func(t *testing.T) {
		l.set(nil)
		l.dials(phone, "5001")
		phone.Press(pin + "#")
		l.joined(phone)
		l.talk.Cloud.EndForEveryone(conversation)
		phone.AwaitOnHook()
		l.Until("nothing is left", func() bool {
			publishers, heard := l.talk.Cloud.Published(conversation)
			return publishers+heard+l.talk.Cloud.BridgesIn(conversation)+len(l.talk.Cloud.Phones(conversation)) == 0
		})
	})
	for _, line := range l.Lines() {
		for _, secret := range []string{conversation, pin, "7654321"} {
			if strings.Contains(line, secret) {
				t.Errorf("the log has a meeting ID or a PIN: %s", line)
			}
		}
	}
}

// A caller's conversation outlives a Janus that is killed.
func TestCallersAreHeardAgainAfterJanusWasKilled(t *testing.T) {
	t.Parallel()
	l := newAudioLab(t, dialInTo)
	l.set(nil)
	phone := l.Phone("202", lab.PhoneConfig{Tone: 440})
	l.dials(phone, "5001")
	phone.Press(pin + "#")
	l.joined(phone)
	l.janus.Kill()
	l.janus.Start()
	back := time.Now()
	l.alice.AwaitHearsIn(recovery, "phones", phone.Tone)
	phone.AwaitSoundsIn(time.Until(back.Add(recovery)), []float64{l.alice.Tone}, phone.Tone)
	phone.HangUp()
	l.over(phone)
}
