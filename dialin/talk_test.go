package dialin

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/media/prompts"

	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talkroom"
)

const sec = time.Second

// asked is what a caller hears until he is known.
var asked = []string{"say welcome enter-meeting", "say enter-pin"}

// enters dials into the conversation with the PIN.
func (r *rig) enters() {
	r.call()
	synctest.Wait()
	r.script(sec, token+"#"+pin+"#", sec)
}

// inside is a caller in the conversation.
func (r *rig) inside() {
	r.enters()
	r.script(5 * sec)
	r.was(cat(asked, member)...)
}

func TestRecordingsNeedConsent(t *testing.T) {
	ask := "say recording"
	for name, c := range map[string]struct {
		config  func(*Config)
		prepare func(*rig)
		script  []any
		want    []string
		outcome Outcome
	}{
		"1 agrees": {prepare: func(r *rig) { r.info.Recording = true }, script: []any{"1", 5 * sec},
			want: cat(asked, ask, member, left("", "joined")), outcome: Joined},
		"asked again, then 1": {prepare: func(r *rig) { r.info.Consent = true }, script: []any{"2", sec, "1", 5 * sec},
			want: cat(asked, ask, ask, member, left("", "joined")), outcome: Joined},
		"another key twice": {prepare: func(r *rig) { r.info.Consent = true }, script: []any{"2", sec, "#", 5 * sec},
			want: cat(asked, ask, ask, "say goodbye", "ends no_consent"), outcome: NoConsent},
		"no key": {prepare: func(r *rig) { r.info.Consent = true }, script: []any{40 * sec},
			want: cat(asked, ask, ask, "say goodbye", "ends no_consent"), outcome: NoConsent},
		"phones take part in no recorded call": {config: func(cfg *Config) { cfg.Consent = ConsentRefuse },
			prepare: func(r *rig) { r.info.Recording = true }, script: []any{5 * sec},
			want: cat(asked, "say unavailable", "ends no_consent"), outcome: NoConsent},
		"he hangs up": {prepare: func(r *rig) { r.info.Recording = true }, script: []any{sec},
			want: cat(asked, ask, "ends left"), outcome: Left},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *Config) {
					if c.config != nil {
						c.config(cfg)
					}
				})
				c.prepare(r)
				r.enters()
				r.script(c.script...)
				r.leaves()
				r.was(c.want...)
				r.ended(c.outcome)
			})
		})
	}
}

func TestLobbyHoldsCallers(t *testing.T) {
	lobby := cat(asked, "say lobby")
	opens := func(r *rig) func() { return r.set(func() { r.info.Lobby = false }) }
	for name, c := range map[string]struct {
		prepare func(*rig)
		script  func(*rig) []any
		want    []string
		outcome Outcome
	}{
		"until it is opened": {script: func(r *rig) []any { return []any{10 * time.Minute, opens(r), 20 * sec} },
			want: cat(lobby, member, left("", "joined")), outcome: Joined},
		"a moderator passes": {prepare: func(r *rig) { r.who.Moderator = true }, script: func(*rig) []any { return []any{5 * sec} },
			want: cat(asked, member, left("", "joined")), outcome: Joined},
		"whoever may ignore it passes": {prepare: func(r *rig) { r.who.IgnoresLobby = true }, script: func(*rig) []any { return []any{5 * sec} },
			want: cat(asked, member, left("", "joined")), outcome: Joined},
		"not for ever": {script: func(*rig) []any { return []any{31 * time.Minute} },
			want: cat(lobby, "say goodbye", "ends waited"), outcome: Waited},
		"Nextcloud is away for a while": {script: func(r *rig) []any {
			return []any{time.Minute, r.set(func() { r.fails["room"] = talk.ErrUnavailable }), time.Minute,
				r.set(func() { delete(r.fails, "room") }), opens(r), 20 * sec}
		}, want: cat(lobby, member, left("", "joined")), outcome: Joined},
		"the conversation is deleted": {script: func(r *rig) []any {
			return []any{time.Minute, r.set(func() { r.fails["room"] = talk.ErrNotFound }), 20 * sec}
		}, want: cat(lobby, "say ended", "ends over"), outcome: Over},
		"phones are shut out meanwhile": {script: func(r *rig) []any {
			return []any{time.Minute, r.set(func() { r.info.SIP = talk.SIPOff }), 20 * sec}
		}, want: cat(lobby, "say ended", "ends over"), outcome: Over},
		"he leaves by *9": {script: func(*rig) []any { return []any{time.Minute, "*9", 5 * sec} },
			want: cat(lobby, "say goodbye", "ends left"), outcome: Left},
		"a recording began meanwhile": {script: func(r *rig) []any {
			return []any{time.Minute, opens(r), r.set(func() { r.info.Recording = true }), 13 * sec, "1", 5 * sec}
		}, want: cat(lobby, "say recording", member, left("", "joined")), outcome: Joined},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.info.Lobby = true
				if c.prepare != nil {
					c.prepare(r)
				}
				r.enters()
				r.script(c.script(r)...)
				r.leaves()
				r.was(c.want...)
				r.ended(c.outcome)
			})
		})
	}
}

// Who may not begin the call waits, in the conversation without being seen, until
// somebody does.
func TestCallsAreBegunByWhoMay(t *testing.T) {
	guest := []string{"say joining", `add 4271953862 "+493055500***" "+493055500***" guests/g1`, "in speak=true", "shown"}
	waits := []string{"say welcome enter-meeting", "say enter-pin no-pin", "enter 4271953862", "say not-started"}
	for name, c := range map[string]struct {
		start   StartCalls
		member  bool
		prepare func(*rig)
		want    []string // before the call begins
		begins  bool
		then    []string
		outcome Outcome
	}{
		"a guest waits": {start: StartMembers, want: waits, begins: true, then: cat(guest, left("", "joined")), outcome: Joined},
		"a guest may":   {start: StartAll, want: cat(waits[:3], guest), then: left("", "joined"), outcome: Joined},
		"a member may": {start: StartMembers, member: true, want: cat(waits[:2], member), then: left("", "joined"),
			outcome: Joined},
		"nobody may by phone": {start: StartNone, member: true, want: waits, begins: true,
			then: cat(member[1:], left("", "joined")), outcome: Joined},
		"a member without the permission": {start: StartMembers, member: true, prepare: func(r *rig) { r.who.MayStart = false }, want: waits,
			then: []string{"leave", "ends left"}, outcome: Left},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *Config) { cfg.StartCalls = c.start })
				r.inCall, r.info.HasCall, r.info.SIP = false, false, talk.SIPOpen
				if c.prepare != nil {
					c.prepare(r)
				}
				r.call()
				synctest.Wait()
				if c.member {
					r.script(sec, token+"#"+pin+"#", 10*sec)
				} else {
					r.script(sec, token+"##", 10*sec)
				}
				r.was(c.want...)
				if c.begins {
					r.script(r.set(func() { r.inCall, r.info.HasCall = true, true }), r.happens(talkroom.Begun), 5*sec)
				}
				r.leaves()
				r.was(c.then...)
				r.ended(c.outcome)
			})
		})
	}
	t.Run("not for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(cfg *Config) { cfg.StartCalls = StartNone })
			r.inCall, r.info.HasCall = false, false
			r.enters()
			r.script(29*time.Minute, r.happens(talkroom.EndedForEveryone), r.happens(talkroom.Ended), 2*time.Minute)
			r.was(cat(asked, "enter 4271953862", "say not-started", "leave", "say goodbye", "ends waited")...)
			r.ended(Waited)
		})
	})
}

// A phone that Nextcloud does not let in waits for somebody to begin the call.
func TestNextcloudLetsPhonesIn(t *testing.T) {
	add := member[2]
	t.Run("once somebody has begun the call", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.inCall, r.info.HasCall, r.refuseAdd = false, false, 1
			r.enters()
			r.script(time.Minute)
			r.was(cat(asked, "enter 4271953862", "say joining", add, "say not-started")...)
			r.script(r.set(func() { r.inCall = true }), r.happens(talkroom.Begun), 5*sec)
			r.was("say joining", add, "in speak=true", "shown")
			r.leaves()
			r.was(left("", "joined")...)
			r.ended(Joined)
		})
	})
	t.Run("never", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.refuseAdd = 100
			r.enters()
			r.script(time.Minute)
			again := []string{"say joining", add}
			r.was(cat(asked, "enter 4271953862", again, "say not-started", again, "say not-started", again, "say not-started", again,
				"leave", "say unavailable", "ends unavailable")...)
			r.ended(Unavailable)
		})
	})
	t.Run("late", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.inside()
			r.script(func() { r.s.addFailed(r, r.added[0].CallID, errors.New("add_failed")) }, sec)
			r.was("out", "say not-started")
			r.script(10 * sec)
			r.was(cat(member[1:])...)
			r.leaves()
			r.was(left("", "joined")...)
			r.ended(Joined)
		})
	})
}

func TestKeysInTheConversation(t *testing.T) {
	for name, c := range map[string]struct {
		config  func(*Config)
		prepare func(*rig)
		script  func(*rig) []any
		want    []string
	}{
		"*6 mutes and unmutes": {script: func(*rig) []any { return []any{"*6", sec, "*6"} },
			want: []string{"mute 1", "plays", "mute 0", "plays"}},
		"*7 raises the hand and lowers it": {script: func(*rig) []any { return []any{"*7", "*7"} }, want: []string{"hand true", "hand false"}},
		"*# is help":                       {script: func(*rig) []any { return []any{"*#"} }, want: []string{"plays"}},
		"keys without a star":              {script: func(*rig) []any { return []any{"6", "7", "9", "#", "1234567890"} }},
		"stars without a key":              {script: func(*rig) []any { return []any{"**", 4 * sec, "6"} }},
		"a key that comes too late":        {script: func(*rig) []any { return []any{"*", 4 * sec, "6"} }},
		"two stars and a key":              {script: func(*rig) []any { return []any{"**7"} }, want: []string{"hand true"}},
		"unknown keys":                     {script: func(*rig) []any { return []any{"*0*1*A"} }},
		"*6 of whom a moderator has muted": {script: func(r *rig) []any {
			return []any{r.control(talk.Control{Kind: talk.Mute, Mute: talk.MutedSpeaking, Sender: "m"}), "*6"}
		}, want: []string{"mute 1", "plays", "mute 0", "plays"}},
		"where that is forbidden": {config: func(cfg *Config) { cfg.AllowUnmute = false }, script: func(r *rig) []any {
			return []any{r.control(talk.Control{Kind: talk.Mute, Mute: talk.MutedSpeaking, Sender: "m"}), "*6"}
		}, want: []string{"mute 1", "plays", "plays"}},
		"his own mute is his": {config: func(cfg *Config) { cfg.AllowUnmute = false }, script: func(r *rig) []any { return []any{"*6", "*6"} },
			want: []string{"mute 1", "plays", "mute 0", "plays"}},
		"a moderator unmutes": {script: func(r *rig) []any {
			return []any{"*6", r.control(talk.Control{Kind: talk.Mute, Sender: "m"})}
		}, want: []string{"mute 1", "plays", "mute 0", "plays"}},
		"a moderator has him hear nothing": {script: func(r *rig) []any {
			return []any{r.control(talk.Control{Kind: talk.Mute, Mute: talk.MutedListening, Sender: "m"}), "*6", "*6"}
		}, want: []string{"mute 2", "mute 3", "plays", "mute 2", "plays"}},
		"a moderator's digit": {script: func(r *rig) []any {
			return []any{r.control(talk.Control{Kind: talk.DTMF, Digit: '5', Sender: "m"})}
		}, want: []string{"digit 5"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *Config) {
					if c.config != nil {
						c.config(cfg)
					}
				})
				r.inside()
				r.script(c.script(r)...)
				r.was(c.want...)
				r.leaves()
				r.was(left("", "joined")...)
				r.ended(Joined)
			})
		})
	}
	t.Run("who may not speak stays muted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.who.MayPublish = false
			r.enters()
			r.script(5*sec, "*6", r.control(talk.Control{Kind: talk.Mute, Sender: "m"}))
			r.was(cat(asked, member[:3], "in speak=false", "shown", "mute 0")...)
			r.leaves()
		})
	})
}

func TestEndsOfCallsInTheConversation(t *testing.T) {
	for name, c := range map[string]struct {
		script  func(*rig) []any
		want    []string
		outcome Outcome
		why     error
	}{
		"*9": {func(*rig) []any { return []any{"*9", 5 * sec} }, left("goodbye", "joined"), Joined, errLeft},
		"a moderator hangs up": {func(r *rig) []any { return []any{r.control(talk.Control{Kind: talk.HangUp, Sender: "m"}), 5 * sec} },
			left("", "joined"), Joined, errModerator},
		"the participant is removed": {func(r *rig) []any {
			return []any{r.control(talk.Control{Kind: talk.HangUp, Reason: "disinvited"}), 5 * sec}
		}, left("", "joined"), Joined, errDisinvited},
		"ended for everyone": {func(r *rig) []any { return []any{r.happens(talkroom.EndedForEveryone), 5 * sec} },
			left("ended", "joined"), Joined, errEveryone},
		"the conversation is deleted": {func(r *rig) []any { return []any{r.happens(talkroom.Deleted), 5 * sec} },
			left("ended", "joined"), Joined, errDeleted},
		"the media server is away": {func(r *rig) []any { return []any{r.happens(talkroom.MediaFailed), 5 * sec} },
			left("unavailable", "unavailable"), Unavailable, errMediaFailed},
		"the phone is silent": {func(r *rig) []any { return []any{func() { r.ears.silent() }, 5 * sec} },
			left("", "joined"), Joined, errSilent},
		"the service ends": {func(r *rig) []any { return []any{func() { r.hangUp(sipflow.ErrStopped) }, 5 * sec} },
			left("", "joined"), Joined, sipflow.ErrStopped},
		"nobody else is there": {func(r *rig) []any {
			steps := []any{}
			for range 61 {
				steps = append(steps, 30*sec, r.happens(talkroom.Empty))
			}
			return append(steps, 5*sec)
		}, left("goodbye", "joined"), Joined, errAlone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.inside()
				r.script(c.script(r)...)
				r.was(c.want...)
				r.ended(c.outcome)
				if !errors.Is(r.err, c.why) {
					t.Errorf("ended by %v", r.err)
				}
				if normal := c.outcome == Joined && c.why != sipflow.ErrStopped; normal != errors.Is(r.err, sipflow.ErrHungUpByUser) {
					t.Errorf("%v is a failure, or none", r.err)
				}
			})
		})
	}
}

// Other phones are company, and so is whoever comes and goes.
func TestCompanyKeepsACallUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.inside()
		for i := range 200 {
			r.script(30*sec, r.set(func() { r.phones = i % 50 / 49 }), r.happens(talkroom.Empty))
		}
		for range 10 {
			r.script(10*time.Minute, r.happens(talkroom.Empty)) // in between somebody was there
		}
		r.script(r.set(func() { r.phones, r.foreign = 0, 1 }))
		for range 200 {
			r.script(30*sec, r.happens(talkroom.Empty)) // two talk by two bridges
		}
		r.was()
		r.leaves()
		r.ended(Joined)
	})
}

// A signaling server that has forgotten us is told of the phone once more, and not of
// one that has gone.
func TestPhonesAreShownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.inside()
		r.s.again(r, "another")
		r.was()
		r.s.again(r, token)
		r.was(member[2], "shown")
		r.leaves()
		r.was(left("", "joined")...)
		r.s.again(r, token)
		r.was()
	})
	t.Run("before they are heard", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.enters()
			r.was(cat(asked, member[:3])...)
			r.s.again(r, token)
			r.was(member[2])
			r.script(5 * sec)
			r.was(member[3:]...)
			r.leaves()
			r.was(left("", "joined")...)
		})
	})
	t.Run("and wait for it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.addErr = talk.ErrNoRoom
			r.enters()
			r.script(5*sec, r.set(func() { r.addErr = nil }), func() { r.s.again(r, token) }, 5*sec)
			r.was(cat(asked, member)...)
			r.leaves()
			r.ended(Joined)
		})
	})
}

// More than a moderator can mean is left out, and does not grow.
func TestControlsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.inside()
		for range 10 * maxControls {
			r.control(talk.Control{Kind: talk.DTMF, Digit: '1', Sender: "m"})()
		}
		synctest.Wait()
		r.script(time.Minute)
		if n := len(r.trace); n < maxControls || n > maxControls+2 {
			t.Errorf("%d digits", n)
		}
		r.leaves()
		r.ended(Joined)
	})
}

// A phone is heard once the participants see it, and not long before the prompt is over.
func TestPhonesAreHeardOnceTheyAreSeen(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*rig)
		not, in time.Duration
	}{
		"at once":           {func(r *rig) {}, 1400 * time.Millisecond, 1600 * time.Millisecond},
		"Nextcloud is slow": {func(r *rig) { r.slow = 7 * sec }, 6900 * time.Millisecond, 7100 * time.Millisecond},
		"an old server":     {func(r *rig) { r.mute = true }, 9900 * time.Millisecond, 10100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				c.prepare(r)
				r.call()
				synctest.Wait()
				r.script(sec, token+"#"+pin+"#", c.not)
				r.was(cat(asked, member[:3])...)
				r.script(c.in - c.not)
				r.was(member[3:]...)
				r.leaves()
				r.ended(Joined)
			})
		})
	}
}

// A member whom the lobby held may begin the call none the less: Nextcloud says of those
// that they may not.
func TestWhomTheLobbyHeldMayBeginTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.inCall, r.info.HasCall, r.info.Lobby, r.who.MayStart = false, false, true, false
		r.enters()
		r.script(time.Minute, r.set(func() { r.info.Lobby = false }), 20*sec)
		r.was(cat(asked, "say lobby", member)...)
		r.leaves()
		r.ended(Joined)
	})
}

// A phone is added once we are in the conversation: before that it would be lost.
func TestPhonesAreAddedOnceWeAreInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.outside = true
		r.enters()
		r.script(10 * sec)
		r.was(cat(asked, member[:2])...)
		r.script(r.set(func() { r.outside = false }), 2*sec)
		r.was(member[2:]...)
		r.leaves()
		r.was(left("", "joined")...)
	})
	t.Run("which may never be", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.outside = true
			r.enters()
			r.script(40 * sec)
			r.was(cat(asked, member[:2], "leave", "say unavailable", "ends unavailable")...)
			r.ended(Unavailable)
		})
	})
}

// A fault of ours ends the call that it happens in, and leaves nothing of that in the
// conversation.
func TestAFaultEndsOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		clip := r.s.parts.Clip
		r.inside()
		r.s.parts.Clip = func(language, name string) []int16 {
			if name == prompts.Help {
				panic("out of range")
			}
			return clip(language, name)
		}
		r.script("*#")
		<-r.over
		r.was("out", "remove", "leave", "ends joined")
		r.ended(Joined)
		if !strings.Contains(r.logs.String(), "internal fault") {
			t.Error("nobody is told of it")
		}
	})
}

// Who waits to be let in counts as one in the conversation: a PIN that many know, or a
// conversation without one, must not take all ports there are.
func TestWhoWaitsTakesAPlace(t *testing.T) {
	for name, prepare := range map[string]func(*rig){
		"lobby":     func(r *rig) { r.info.Lobby = true },
		"not begun": func(r *rig) { r.inCall, r.info.HasCall, r.who.MayStart = false, false, false },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				prepare(r)
				var waiting []func()
				for range r.s.cfg.RoomPhones {
					r.over = make(chan struct{})
					r.enters()
					over, hangUp := r.over, r.hangUp
					waiting = append(waiting, func() { hangUp(sipflow.ErrHungUp); <-over })
				}
				r.over = make(chan struct{})
				r.enters()
				r.script(10 * sec)
				select {
				case <-r.over:
				default:
					t.Error("one more waits")
					r.leaves()
				}
				if n := r.s.Stats().Calls[Full]; n != 1 {
					t.Errorf("%d calls were told that it is full", n)
				}
				waiting[0]()
				r.over = make(chan struct{})
				r.enters()
				r.script(10 * sec)
				waiting = append(waiting[1:], r.leaves)
				for _, leave := range waiting {
					leave()
				}
				if st := r.s.Stats(); st.Calls[Full] != 1 || st.Active != 0 || len(r.s.seats) != 0 {
					t.Errorf("left: %v, %v", st, r.s.seats)
				}
			})
		})
	}
}
