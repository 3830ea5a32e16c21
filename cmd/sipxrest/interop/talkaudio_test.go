//go:build interop

package interop

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/talk/talktest"
)

// audioLab is a conversation of Talk whose media go through Janus, with a browser in
// its call who is a moderator, and telephones behind a Kamailio.
type audioLab struct {
	*lab.Lab
	*lab.Service
	janus *lab.Janus
	talk  *lab.Talk
	alice *lab.TalkUser
	t     *testing.T
}

// dialIn is the number that leads to Talk's menu, further ones lead elsewhere.
const dialIn = "5000"

// newAudioLab starts it. more are further lines of the service's configuration.
func newAudioLab(t *testing.T, more ...string) *audioLab {
	lab.NeedNamespaces(t)
	sip := net.JoinHostPort("127.0.0.1", strconv.Itoa(lab.Ports(t, 1)))
	l := &audioLab{Lab: lab.Start(t, map[string]string{dialIn: sip, "5001": sip, "5002": sip, "5003": sip}), t: t}
	l.janus = l.Janus()
	l.talk = l.TalkWith(l.janus)
	l.Service = l.ServiceAt(sip, append([]string{l.AudioLines(l.talk, l.janus), "drain: 200ms"}, more...)...)
	if _, err := l.AwaitLine(0, regexp.MustCompile(`connected to the signaling server`), lab.Patience); err != nil {
		t.Fatal(err)
	}
	l.alice = l.TalkUser(l.talk, conversation, "alice", 600)
	return l
}

// Run is that of the lab; what fails in it is told there.
func (l *audioLab) Run(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	l.Lab.Run(t, name, func(t *testing.T) {
		outer := l.t
		l.t = t
		defer func() { l.t = outer }()
		test(t)
	})
}

// call has a telephone called as a click in Talk does, and waits until it is connected.
func (l *audioLab) call(p *lab.Phone, attendee int) (id string) {
	l.t.Helper()
	id, err := l.talk.Cloud.Dialout(conversation, p.User, talktest.Options(attendee))
	if err != nil {
		l.t.Fatal(err)
	}
	p.AwaitInCallWith("+4930123456") // the default number
	l.Until("connected", func() bool { return l.talk.Cloud.Statuses(conversation)[id].Status == "connected" })
	return id
}

// over waits until nothing is left of the telephones in the conversation, at Janus
// neither, and that the service has nothing to tell of it.
func (l *audioLab) over(phones ...*lab.Phone) {
	l.t.Helper()
	for _, p := range phones {
		p.AwaitOnHook()
	}
	l.Until("bridge and phones have left the room", func() bool {
		return l.talk.Cloud.BridgesIn(conversation) == 0 && len(l.talk.Cloud.Phones(conversation)) == 0
	})
	l.alice.AwaitHears("phones")
	l.Until("the bridge publishes and hears nothing", func() bool {
		publishers, heard := l.talk.Cloud.Published(conversation)
		return publishers == 1 && heard == 0 // alice's
	})
}

// flags waits until the phone of a call is shown to alice with these flags, but for
// that it speaks.
func (l *audioLab) flags(id string, want int) {
	l.t.Helper()
	const speaking = 4
	l.Until(fmt.Sprintf("phone %s is shown with flags %d", id, want), func() bool { return l.alice.Flags()[id]&^speaking == want })
}

// Telephones of three codecs, two browsers and a client of pion's are in one
// conversation: each hears exactly the others.
func TestEverybodyInTalkHearsEverybodyElse(t *testing.T) {
	t.Parallel()
	l := newAudioLab(t)
	bob := l.TalkUser(l.talk, conversation, "bob", 1000)
	var phones []*lab.Phone
	for i, c := range []lab.PhoneConfig{{Codec: "PCMA", Tone: 440}, {Codec: "PCMU", Tone: 760}, {G722: true, Tone: 1320}} {
		phones = append(phones, l.Phone("+49305550020"+strconv.Itoa(i), c))
	}
	carol := l.talk.Cloud.Talk(conversation, "carol", talktest.ParticipantOptions{Sound: talktest.Tone1500})
	defer carol.Leave()
	tones := []float64{l.alice.Tone, bob.Tone, 1500}
	l.alice.AwaitHears("carol", 1500)

	var ids []string
	l.Run(t, "one after the other", func(t *testing.T) {
		for i, p := range phones {
			ids = append(ids, l.call(p, 101+i))
			tones = append(tones, p.Tone)
			for _, user := range []*lab.TalkUser{l.alice, bob} {
				user.AwaitHears("phones", tones[3:]...)
			}
			l.Until("carol hears alice, bob and the telephones", func() bool { return len(carol.Hears()) == 3 })
			for _, p := range phones[:i+1] {
				own := slices.Index(tones, p.Tone)
				p.AwaitSounds(slices.Delete(slices.Clone(tones), own, own+1), p.Tone)
			}
		}
		if got := l.alice.Received("phones"); got.Codec != "audio/G722" || got.Lost > 0 {
			t.Errorf("alice receives %+v", got)
		}
		l.alice.AwaitHears("bob", bob.Tone) // as before
	})
	l.Run(t, "a participant leaves, and telephones hang up", func(t *testing.T) {
		bob.Leave()
		phones[0].AwaitSounds([]float64{l.alice.Tone, 1500, phones[1].Tone, phones[2].Tone}, bob.Tone)
		carol.Leave()
		phones[0].AwaitSounds([]float64{l.alice.Tone, phones[1].Tone, phones[2].Tone}, 1500)
		phones[0].HangUp()
		l.alice.AwaitHears("phones", phones[1].Tone, phones[2].Tone)
		phones[1].AwaitSounds([]float64{l.alice.Tone, phones[2].Tone}, phones[0].Tone)
		for _, p := range phones[1:] {
			p.HangUp()
		}
		l.over(phones...)
		for _, id := range ids {
			l.reason(id, "EndedByRemote", 200)
		}
	})
}

// reason says what the call's last status was.
func (l *audioLab) reason(id, cause string, code int) {
	l.t.Helper()
	l.Until(fmt.Sprintf("the last status of %s is %s %d", id, cause, code), func() bool {
		got := l.talk.Cloud.Statuses(conversation)[id]
		return got.Cause == cause && got.Code == code
	})
}

func TestModeratorsControlTelephonesInTalk(t *testing.T) {
	t.Parallel()
	l := newAudioLab(t)
	phone := l.Phone(telephone, lab.PhoneConfig{Tone: 440})
	other := l.Phone("+493055500201", lab.PhoneConfig{Tone: 760})
	id := l.call(phone, 101)
	l.call(other, 102)
	l.alice.AwaitHears("phones", 440, 760)

	l.Run(t, "muted", func(t *testing.T) {
		from := phone.Mark()
		l.alice.Control(id, `{type: "mute", audio: 1}`)
		l.alice.AwaitHears("phones", 760)
		other.AwaitSounds([]float64{600}, 440)
		phone.AwaitSounds([]float64{600, 760}, 440)
		l.flags(id, 1)
		l.alice.Control(id, `{type: "mute", audio: 3}`)
		phone.AwaitSilence()
		l.flags(id, 3)
		l.alice.Control(id, `{type: "mute", audio: 0}`)
		l.alice.AwaitHears("phones", 440, 760)
		phone.AwaitSounds([]float64{600, 760}, 440)
		l.flags(id, 0)
		for _, line := range phone.Lines()[from:] {
			if strings.HasPrefix(line, "INVITE ") {
				t.Error("the telephone was invited again for it")
			}
		}
	})
	l.Run(t, "digits", func(t *testing.T) {
		from := phone.Mark()
		for _, digit := range "5#*" {
			l.alice.Control(id, fmt.Sprintf(`{type: "dtmf", digit: %q}`, digit))
		}
		l.Until("the telephone gets 5#* as telephone events", func() bool { return phone.Digits() == "5#*" })
		for _, line := range phone.Lines()[from:] {
			if strings.HasPrefix(line, "INFO ") {
				t.Error("digits came by INFO, too")
			}
		}
	})
	l.Run(t, "hung up", func(t *testing.T) {
		l.alice.Control(id, `{type: "hangup"}`)
		phone.AwaitOnHook()
		l.reason(id, "EndedByLocal", 200)
		l.alice.AwaitHears("phones", 760)
	})
	l.Run(t, "ended for everyone", func(t *testing.T) {
		again := l.call(phone, 103)
		l.alice.AwaitHears("phones", 440, 760)
		l.talk.Cloud.EndForEveryone(conversation)
		phone.AwaitOnHook()
		other.AwaitOnHook()
		l.reason(again, "EndedByLocal", 200)
		l.Until("nothing is left", func() bool {
			publishers, heard := l.talk.Cloud.Published(conversation)
			return publishers == 0 && heard == 0 && l.talk.Cloud.BridgesIn(conversation) == 0 && len(l.talk.Cloud.Phones(conversation)) == 0
		})
	})
}

// Janus goes and comes back: all hear each other again, and telephones all the while.
func TestTalkIsHeardAgainAfterJanusWasAway(t *testing.T) {
	t.Parallel()
	l := newAudioLab(t)
	phones := []*lab.Phone{l.Phone(telephone, lab.PhoneConfig{Tone: 440}), l.Phone("+493055500201", lab.PhoneConfig{Tone: 760, G722: true})}
	for i, p := range phones {
		l.call(p, 101+i)
	}
	l.alice.AwaitHears("phones", 440, 760)
	for _, end := range []struct {
		name string
		do   func()
	}{{"stopped", l.janus.Stop}, {"killed", l.janus.Kill}} {
		end.do()
		gone := time.Now()
		phones[0].AwaitSounds([]float64{760}, 600, 440)
		time.Sleep(time.Until(gone.Add(5 * time.Second))) // that long it is away
		l.janus.Start()
		left := time.Until(gone.Add(5*time.Second + recovery))
		l.alice.AwaitHearsIn(left, "phones", 440, 760)
		phones[0].AwaitSoundsIn(time.Until(gone.Add(5*time.Second+recovery)), []float64{600, 760}, 440)
		phones[1].AwaitSounds([]float64{600, 440}, 760)
		t.Logf("%s: all hear each other %v after Janus was back", end.name, time.Since(gone.Add(5*time.Second)).Round(100*time.Millisecond))
	}
	for _, p := range phones {
		p.HangUp()
	}
	l.over(phones...)
}
