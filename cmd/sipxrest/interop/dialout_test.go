//go:build interop

package interop

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/talk/talktest"
)

const (
	telephone    = "+493055500200"
	conversation = "4271953862"
)

// talkLab is a conversation of Talk with a moderator in it, the telephone that
// is called out of it and the conference that is joined with it. The telephone
// and the conference are baresips behind a Kamailio that challenges both calls,
// each for credentials of its own.
type talkLab struct {
	*lab.Lab
	*lab.Service
	talk             *lab.Talk
	moderator        *talktest.User
	telephone, rooms *lab.Phone
	t                *testing.T
}

func newTalkLab(t *testing.T) *talkLab {
	l := &talkLab{Lab: lab.Start(t, nil), t: t}
	l.talk = l.Talk()
	l.telephone = l.Phone(telephone, lab.PhoneConfig{Manual: true, Tone: 500})
	l.rooms = l.Phone(conversation, lab.PhoneConfig{Tone: 700})
	l.serve()
	l.moderator = l.talk.Cloud.Join(conversation, "moderator")
	l.moderator.Moderator = true
	return l
}

// serve starts the service and waits until it has introduced itself.
func (l *talkLab) serve() {
	l.t.Helper()
	l.Service = l.Lab.Service(l.DialoutLines(l.talk), "drain: 200ms")
	if _, err := l.AwaitLine(0, regexp.MustCompile(`connected to the signaling server`), lab.Patience); err != nil {
		l.t.Fatal(err)
	}
}

// dial has the number called, as a click in Talk does.
func (l *talkLab) dial(options ...string) (id string) {
	l.t.Helper()
	id, err := l.talk.Cloud.Dialout(conversation, telephone, talktest.Options(101, options...))
	if err != nil {
		l.t.Fatal(err)
	}
	return id
}

// shows waits until the moderator has seen these statuses of a call, and no
// others.
func (l *talkLab) shows(id string, want ...string) {
	l.t.Helper()
	l.talk.Until(strings.Join(want, ", "), lab.Patience, func() bool { return len(l.moderator.Calls(id)) >= len(want) })
	if got := l.moderator.Calls(id); !slices.Equal(got, want) {
		l.t.Errorf("the moderator saw %q, want %q", got, want)
	}
}

// connected has the telephone called and answered.
func (l *talkLab) connected() (id string) {
	l.t.Helper()
	id = l.dial()
	l.telephone.AwaitRinging()
	l.shows(id, "accepted", "ringing")
	l.telephone.Answer()
	l.shows(id, "accepted", "ringing", "connected")
	return id
}

// over waits until both phones are on-hook and nothing is left in the room.
func (l *talkLab) over(id string, statuses ...string) {
	l.t.Helper()
	l.telephone.AwaitOnHook()
	l.rooms.AwaitOnHook()
	l.shows(id, append(statuses, "removed")...)
	l.talk.Until("bridge and phone have left the room", lab.Patience, func() bool {
		return l.talk.Cloud.BridgesIn(conversation) == 0 && len(l.talk.Cloud.Phones(conversation)) == 0
	})
	if slices.Contains(l.talk.Cloud.Rejected(), id) == slices.Contains(statuses, "connected") {
		l.t.Errorf("rejected at Nextcloud: %q, statuses %q", l.talk.Cloud.Rejected(), statuses)
	}
}

// reason says what the call's last status was.
func (l *talkLab) reason(id, cause string, code int) {
	l.t.Helper()
	if got := l.talk.Cloud.Statuses(conversation)[id]; got.Cause != cause || got.Code != code {
		l.t.Errorf("last status %+v, want %s %d", got, cause, code)
	}
}

// inTalk waits until telephone and conference hear each other. A baresip that
// was held from the first does not record what it hears later on; that it
// arrives is counted.
func (l *talkLab) inTalk() {
	l.t.Helper()
	l.telephone.AwaitAudio()
	l.rooms.AwaitAudio()
	l.rooms.AwaitHears(l.telephone)
}

// Run is that of the lab; what fails in it is told there.
func (l *talkLab) Run(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	l.Lab.Run(t, name, func(t *testing.T) {
		outer := l.t
		l.t = t
		defer func() { l.t = outer }()
		test(t)
	})
}

// prints waits for a line of the phone's SIP.
func prints(t *testing.T, p *lab.Phone, from int, line string) {
	t.Helper()
	if _, err := p.AwaitLine(from, regexp.MustCompile(line), lab.Patience); err != nil {
		t.Fatal(err)
	}
}

func TestTalkCallsATelephone(t *testing.T) {
	t.Parallel()
	l := newTalkLab(t)

	l.Run(t, "that is heard in the conference until a moderator hangs up", func(t *testing.T) {
		from := l.telephone.Mark()
		id := l.connected()
		prints(t, l.telephone, from, `^From: .*<sip:\+4930123456@sipx\.test>`) // the default number
		l.inTalk()
		if got := l.talk.Cloud.Phones(conversation); !slices.Equal(got, []string{id}) {
			t.Errorf("phones in the room: %q", got)
		}

		from = l.telephone.Mark()
		for _, digit := range "5#*" {
			if !l.moderator.Control(id, `{"type":"dtmf","digit":"`+string(digit)+`"}`) {
				t.Fatal("the digit was not delivered")
			}
		}
		prints(t, l.telephone, from, `^INFO sip:`)
		for _, digit := range []string{"5", "#", `\*`} {
			prints(t, l.telephone, from, `^Signal=`+digit)
		}

		from = l.telephone.Mark()
		l.moderator.Control(id, `{"type":"mute","audio":3}`)
		prints(t, l.telephone, from, `^a=inactive`)
		l.rooms.AwaitNothingHeard()
		l.talk.Until("shown as muted", lab.Patience, func() bool {
			return strings.Contains(strings.Join(l.moderator.Events(), "\n"), `"flags":3`)
		})
		from = l.telephone.Mark()
		l.moderator.Control(id, `{"type":"mute","audio":0}`)
		prints(t, l.telephone, from, `^a=sendrecv`)
		l.inTalk()

		l.moderator.Control(id, `{"type":"hangup"}`)
		l.shows(id, "accepted", "ringing", "connected", "cleared")
		l.reason(id, "EndedByLocal", 200)
		l.over(id, "accepted", "ringing", "connected", "cleared")
	})
	l.Run(t, "that hangs up", func(t *testing.T) {
		id := l.connected()
		l.inTalk()
		l.telephone.HangUp()
		l.shows(id, "accepted", "ringing", "connected", "cleared")
		l.reason(id, "EndedByRemote", 200)
		l.over(id, "accepted", "ringing", "connected", "cleared")
	})
	l.Run(t, "that refuses", func(t *testing.T) {
		id := l.dial()
		l.telephone.AwaitRinging()
		l.shows(id, "accepted", "ringing")
		l.telephone.HangUp()
		l.shows(id, "accepted", "ringing", "rejected")
		l.reason(id, "EndedByBusy", 486)
		l.over(id, "accepted", "ringing", "rejected")
	})
	l.Run(t, "until the conference hangs up", func(t *testing.T) {
		id := l.connected()
		l.inTalk()
		l.rooms.HangUp()
		l.shows(id, "accepted", "ringing", "connected", "cleared")
		l.reason(id, "EndedByLocal", 200)
		l.over(id, "accepted", "ringing", "connected", "cleared")
	})
	l.Run(t, "for everyone, while it rings", func(t *testing.T) {
		id := l.dial()
		l.telephone.AwaitRinging()
		l.shows(id, "accepted", "ringing")
		l.talk.Until("the bridge is in the room", lab.Patience, func() bool { return l.talk.Cloud.BridgesIn(conversation) == 1 })
		l.talk.Cloud.EndForEveryone(conversation)
		l.shows(id, "accepted", "ringing", "cleared")
		l.over(id, "accepted", "ringing", "cleared")
	})
	l.Run(t, "anonymously", func(t *testing.T) {
		from := l.telephone.Mark()
		id := l.dial("anonymous", "true")
		l.telephone.AwaitRinging()
		prints(t, l.telephone, from, `^From: .*<sip:anonymous@anonymous\.invalid>`)
		l.telephone.HangUp()
		l.over(id, "accepted", "ringing", "rejected")
	})
	l.Run(t, "never for a caller with a line break", func(t *testing.T) {
		if id, err := l.talk.Cloud.Dialout(conversation, telephone,
			talktest.Options(101, "caller", `"+493012345\r\nX-Injected: yes"`)); err == nil {
			t.Errorf("call %s was made", id)
		}
		l.talk.SawSIP(strings.Join(l.telephone.Lines(), "\n"))
	})
	l.Run(t, "until the service ends", func(t *testing.T) {
		id := l.connected()
		l.inTalk()
		if err := l.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := l.Wait(lab.Patience); err != nil {
			t.Errorf("end of the service: %v", err)
		}
		l.shows(id, "accepted", "ringing", "connected", "cleared")
		l.over(id, "accepted", "ringing", "connected", "cleared")
	})
}

// A conference bridge answers at once: the phone's own offer is for it, and
// nobody is invited twice.
func TestAConferenceThatAnswersAtOnce(t *testing.T) {
	t.Parallel()
	port, media := lab.Ports(t, 1), lab.Ports(t, 4)
	l := &talkLab{Lab: lab.Start(t, map[string]string{conversation: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}), t: t}
	l.telephone = l.Phone(telephone, lab.PhoneConfig{Tone: 500})
	s := l.Lab.Service(l.DialoutLines(l.Talk()), "drain: 200ms")
	conference := l.SIPp("conference", port, 1, "-rtp_echo", "-mi", "127.0.0.1", "-mp", strconv.Itoa(media))

	const order = `{"type":"dialout","dialout":{"number":"+49 30 55500200","options":{"target":"` + conversation + `"}}}`
	from := l.telephone.Mark()
	made := s.Curl("-u", "201:"+lab.Password, "-H", "Content-Type: application/json", "-d", order, s.Secure+"/dialout")
	id := regexp.MustCompile(`"callid":"(\w+)"`).FindStringSubmatch(made.Body)
	if made.Code != 200 || id == nil {
		t.Fatalf("POST: %d %s", made.Code, made.Body)
	}
	call := s.Secure + "/dialout/" + id[1]
	events := make(chan lab.Answer, 1)
	go func() {
		defer close(events) // also when curl fails
		events <- s.Curl("-N", "-u", "201:"+lab.Password, call+"/events")
	}()
	l.telephone.AwaitAudio()
	l.telephone.AwaitHears(l.telephone) // the echo
	invites := 0
	for _, line := range l.telephone.Lines()[from:] {
		if strings.HasPrefix(line, "INVITE sip:") {
			invites++
		}
	}
	if invites != 1 {
		t.Errorf("the telephone was invited %d times", invites)
	}
	prints(t, l.telephone, from, `^m=audio `+strconv.Itoa(media)+` `)
	if a := s.Curl("-u", "202:"+lab.Password, call); a.Code != 404 {
		t.Errorf("another user's GET: %d %s", a.Code, a.Body)
	}
	if a := s.Curl("-u", "201:"+lab.Password, "-X", "DELETE", call); a.Code != 200 {
		t.Errorf("DELETE: %d %s", a.Code, a.Body)
	}
	l.SIPpPassed(conference)
	l.telephone.AwaitOnHook()
	var states []string
	answer := <-events
	for _, m := range regexp.MustCompile(`"status":"(\w+)"`).FindAllStringSubmatch(answer.Body, -1) {
		states = append(states, m[1])
	}
	if want := []string{"accepted", "ringing", "connected", "cleared"}; answer.Code != 200 || !slices.Equal(states, want) {
		t.Errorf("events: %d %q, want %q", answer.Code, states, want)
	}
}

// A service that is killed leaves Talk with calls that nobody can end, until it
// is started again.
func TestTalkIsToldOfCallsThatAKilledServiceHad(t *testing.T) {
	t.Parallel()
	l := newTalkLab(t)
	kill := func() {
		t.Helper()
		if err := l.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-l.Done()
	}

	// No subtests: what is started in one would end with it.
	talking := l.connected()
	l.inTalk()
	kill()
	l.shows(talking, "accepted", "ringing", "connected")
	l.serve()
	l.shows(talking, "accepted", "ringing", "connected", "cleared")
	l.reason(talking, "EndedByLocal", 500)
	l.telephone.HangUp() // nobody else is left to do that
	l.rooms.HangUp()
	l.telephone.AwaitOnHook()
	l.shows(talking, "accepted", "ringing", "connected", "cleared", "removed")
	if slices.Contains(l.talk.Cloud.Rejected(), talking) {
		t.Error("rejected at Nextcloud though it was established")
	}

	ringing := l.dial()
	l.telephone.AwaitRinging()
	l.shows(ringing, "accepted", "ringing")
	kill()
	l.serve()
	l.shows(ringing, "accepted", "ringing", "cleared")
	l.talk.Until("rejected at Nextcloud", lab.Patience, func() bool { return slices.Contains(l.talk.Cloud.Rejected(), ringing) })
	l.telephone.HangUp()
	l.telephone.AwaitOnHook()
	l.shows(ringing, "accepted", "ringing", "cleared", "removed")

	again := l.connected()
	l.inTalk()
	l.telephone.HangUp()
	l.over(again, "accepted", "ringing", "connected", "cleared")
}

// The gateway's challenge gets the gateway's credentials, and none other.
func TestTheGatewayIsToldItsOwnSecretOnly(t *testing.T) {
	t.Parallel()
	l := &talkLab{Lab: lab.Start(t, nil), t: t}
	l.talk = l.Talk()
	l.Service = l.Lab.Service(l.DialoutLines(l.talk, `secret: "123", domain`, `secret: "other", domain`))
	if _, err := l.AwaitLine(0, regexp.MustCompile(`connected to the signaling server`), lab.Patience); err != nil {
		t.Fatal(err)
	}
	l.moderator = l.talk.Cloud.Join(conversation, "moderator")
	id := l.dial()
	l.shows(id, "accepted", "rejected")
	l.reason(id, "EndedByUnauthorized", 407)
	l.talk.Until("rejected at Nextcloud", lab.Patience, func() bool { return slices.Contains(l.talk.Cloud.Rejected(), id) })
}

func TestCheckTriesTheSignalingServer(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	talk := l.Talk()
	s := l.Service()
	old := l.Talk()
	old.Features = []string{"hello-v2", "virtual-sessions"}
	none := l.Talk()
	none.NotFound = true
	for _, tt := range []struct {
		name, lines string
		says        []string // regular expressions
		fine        bool
	}{
		{"right", l.DialoutLines(talk), []string{`(?m)^ok +dialout .*takes us as a bridge for ` + regexp.QuoteMeta(talk.CloudURL)}, true},
		{"wrong secret", l.DialoutLines(talk, "secret: "+talktest.Secret, "secret: another"),
			[]string{`(?m)^problem +dialout .*the secret is wrong: it must be internalsecret`}, false},
		{"wrong backend", l.DialoutLines(talk, talk.CloudURL, "https://elsewhere.example/"),
			[]string{`(?m)^problem +dialout .*does not serve that Nextcloud`}, false},
		{"missing feature", l.DialoutLines(old), []string{`(?m)^problem +dialout .*has no dialout: it is too old`}, false},
		{"no signaling server", l.DialoutLines(none), []string{`(?m)^problem +dialout .*there is no signaling server at that address`}, false},
		{"nobody there", l.DialoutLines(talk, talk.URL, "http://127.0.0.1:1"), []string{`(?m)^problem +dialout .*cannot be reached`}, false},
		{"no such agent", l.DialoutLines(talk, `agent: "201"`, `agent: "299"`), []string{`there is no user 299`}, false},
		{"gateway down", l.DialoutLines(talk, "uri: \"sip:"+l.Proxy.Addr, "uri: \"sip:127.0.0.1:1"), []string{`(?m)^problem .*127\.0\.0\.1:1`},
			false},
	} {
		l.Run(t, tt.name, func(t *testing.T) {
			began := time.Now()
			out, fine := s.Check(tt.lines)
			if fine != tt.fine {
				t.Errorf("found nothing wrong: %v, want %v\n%s", fine, tt.fine, out)
			}
			for _, says := range tt.says {
				if !regexp.MustCompile(says).MatchString(out) {
					t.Errorf("it does not say %q:\n%s", says, out)
				}
			}
			if d := time.Since(began); d > 30*time.Second {
				t.Errorf("took %v", d)
			}
			if strings.Contains(out, talktest.Secret) || strings.Contains(out, talktest.SIPSecret) {
				t.Errorf("it prints a secret:\n%s", out)
			}
		})
	}
}
