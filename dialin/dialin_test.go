package dialin

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/media"
	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talkroom"
)

// member is what happens to a caller with a PIN once that is entered.
var member = []string{"enter 4271953862", "say joining", `add 4271953862 "Alice" "+493055500***" users/alice`, "in speak=true", "shown"}

// left is what happens when he leaves the conversation.
func left(say string, o string) []string {
	list := []string{"out", "remove", "leave"}
	if say != "" {
		list = append(list, "say "+say)
	}
	return append(list, "ends "+o)
}

func cat(lists ...any) (all []string) {
	for _, l := range lists {
		switch l := l.(type) {
		case string:
			all = append(all, l)
		case []string:
			all = append(all, l...)
		}
	}
	return all
}

func TestWhatCallersGoThrough(t *testing.T) {
	const (
		menu = "say welcome enter-meeting"
		sec  = time.Second
	)
	ask := "say enter-pin"
	for name, c := range map[string]struct {
		config  func(*Config)
		prepare func(*rig)
		script  func(*rig) []any
		want    []string
		outcome Outcome
	}{
		"number and PIN": {
			script: func(r *rig) []any { return []any{3 * sec, token + "#", sec, pin + "#", 5 * sec} },
			want:   cat(menu, ask, member, left("", "joined")), outcome: Joined},
		"the number is dialled with two zeros, and a pause ends it": {
			script: func(r *rig) []any { return []any{sec, "00" + token, 6 * sec, pin, 10 * sec} },
			want:   cat(menu, ask, member, left("", "joined")), outcome: Joined},
		"all is dialled before the first prompt": {
			script: func(r *rig) []any { return []any{token + "#" + pin + "#", 5 * sec} },
			want:   cat(menu, ask, member, left("", "joined")), outcome: Joined},
		"a star begins the entry anew": {
			script: func(r *rig) []any { return []any{sec, "*" + token + "#" + "*" + pin + "#", 5 * sec} },
			want:   cat(menu, ask, member, left("", "joined")), outcome: Joined},
		"a wrong number, then the right one": {
			script: func(r *rig) []any { return []any{sec, "1111#", sec, token + "#" + pin + "#", 5 * sec} },
			want:   cat(menu, "say wrong again enter-meeting", ask, member, left("", "joined")), outcome: Joined},
		"a wrong PIN leads back to the number": {
			script: func(r *rig) []any {
				return []any{sec, token + "#" + "7654321#", sec, token + "#" + pin + "#", 5 * sec}
			},
			want: cat(menu, ask, "say wrong again enter-meeting", ask, member, left("", "joined")), outcome: Joined},
		"three wrong numbers": {
			script:  func(r *rig) []any { return []any{sec, "1111#", "2222#", "3333#", 10 * sec} },
			want:    cat(menu, "say wrong again enter-meeting", "say wrong again enter-meeting", "say wrong goodbye", "ends wrong"),
			outcome: Wrong},
		"what is no number is wrong, and nobody is asked": {
			script: func(r *rig) []any {
				return []any{sec, "123#", "#", "12*4567#", 10 * sec, func() {
					if r.asked["room"] != 0 {
						r.t.Error("Nextcloud was asked")
					}
				}}
			},
			want:    cat(menu, "say wrong again enter-meeting", "say wrong again enter-meeting", "say wrong goodbye", "ends wrong"),
			outcome: Wrong},
		"nothing is entered": {
			script: func(r *rig) []any { return []any{64 * sec} },
			want:   cat(menu, "say goodbye", "ends wrong"), outcome: Wrong},
		"digit by digit for longer than one may": {
			script: func(r *rig) []any {
				steps := []any{sec}
				for range 16 {
					steps = append(steps, "4", 4*sec)
				}
				return steps
			},
			want: cat(menu, "say goodbye", "ends wrong"), outcome: Wrong},
		"a conversation without phones is as none": {
			prepare: func(r *rig) { r.info.SIP = talk.SIPOff },
			script:  func(r *rig) []any { return []any{sec, token + "#", token + "#", token + "#", 10 * sec} },
			want:    cat(menu, "say wrong again enter-meeting", "say wrong again enter-meeting", "say wrong goodbye", "ends wrong"),
			outcome: Wrong},
		"an empty PIN where one is needed": {
			script: func(r *rig) []any { return []any{sec, token + "#" + "#", sec} },
			want:   cat(menu, ask, "say wrong again enter-meeting", "ends left"), outcome: Left},
		"a guest without a PIN": {
			prepare: func(r *rig) { r.info.SIP = talk.SIPOpen },
			script:  func(r *rig) []any { return []any{sec, token + "#" + "#", 5 * sec} },
			want: cat(menu, "say enter-pin no-pin", "enter 4271953862", "say joining",
				`add 4271953862 "+493055500***" "+493055500***" guests/g1`, "in speak=true", "shown", left("", "joined")), outcome: Joined},
		"a guest whose trunk vouches for the number": {
			prepare: func(r *rig) { r.info.SIP, r.q.Vouched = talk.SIPOpen, true },
			script:  func(r *rig) []any { return []any{sec, token + "#" + "#", 5 * sec} },
			want: cat(menu, "say enter-pin no-pin", "enter 4271953862", "say joining",
				`add 4271953862 "+493055500200" "+493055500200" guests/g1`, "in speak=true", "shown", left("", "joined")), outcome: Joined},
		"a guest without a number": {
			prepare: func(r *rig) { r.info.SIP, r.q.Caller = talk.SIPOpen, "" },
			script:  func(r *rig) []any { return []any{sec, token + "#" + "#", 5 * sec} },
			want: cat(menu, "say enter-pin no-pin", "enter 4271953862", "say joining",
				`add 4271953862 "Phone" "" guests/g1`, "in speak=true", "shown", left("", "joined")), outcome: Joined},
		"a member where guests may enter, too": {
			prepare: func(r *rig) { r.info.SIP = talk.SIPOpen },
			script:  func(r *rig) []any { return []any{sec, token + "#" + pin + "#", 5 * sec} },
			want:    cat(menu, "say enter-pin no-pin", member, left("", "joined")), outcome: Joined},
		"guests may enter no more": {
			prepare: func(r *rig) { r.info.SIP, r.fails["open"] = talk.SIPOpen, talk.ErrNoSIP },
			script:  func(r *rig) []any { return []any{sec, token + "#" + "#", sec} },
			want:    cat(menu, "say enter-pin no-pin", "say wrong again enter-meeting", "ends left"), outcome: Left},
		"the rule's conversation": {
			prepare: func(r *rig) { r.q.Token = token },
			script:  func(r *rig) []any { return []any{sec, "7654321#", sec, pin + "#", 5 * sec} },
			want:    cat("say welcome enter-pin", "say wrong-pin again enter-pin", member, left("", "joined")), outcome: Joined},
		"the rule's conversation is none": {
			prepare: func(r *rig) { r.q.Token = "9999" },
			script:  func(r *rig) []any { return []any{10 * sec} },
			want:    cat("say unavailable", "ends unavailable"), outcome: Unavailable},
		"the rule's conversation is not for phones": {
			prepare: func(r *rig) { r.q.Token, r.info.SIP = token, talk.SIPOff },
			script:  func(r *rig) []any { return []any{10 * sec} },
			want:    cat("say unavailable", "ends unavailable"), outcome: Unavailable},
		"a user's own number": {
			prepare: func(r *rig) { r.q.Direct, r.q.Called = true, "+493012345" },
			script:  func(r *rig) []any { return []any{5 * sec} },
			want: cat("direct +493012345 +493055500200", "enter 4271953862", "say joining",
				`add 4271953862 "+493055500***" "+493055500***" guests/g2`, "in speak=true", "shown", left("", "joined")), outcome: Joined},
		"the caller hangs up": {
			script: func(r *rig) []any { return []any{sec, "12", func() { r.hangUp(sipflow.ErrHungUp) }, sec} },
			want:   cat(menu, "ends left"), outcome: Left},
		"the service ends while digits are entered": {
			script: func(r *rig) []any { return []any{sec, "12", func() { r.hangUp(sipflow.ErrStopped) }, sec} },
			want:   cat(menu, "ends stopped"), outcome: Stopped},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *Config) {
					if c.config != nil {
						c.config(cfg)
					}
				})
				if c.prepare != nil {
					c.prepare(r)
				}
				r.call()
				synctest.Wait()
				r.script(c.script(r)...)
				r.leaves()
				r.was(c.want...)
				r.ended(c.outcome)
			})
		})
	}
}

// What Nextcloud, its signaling server or its media server cannot do is told in words,
// and each is an outcome of its own.
func TestWhatFailsIsSaid(t *testing.T) {
	const sec = time.Second
	unavailable := []string{"say unavailable", "ends unavailable"}
	inMenu := cat("say welcome enter-meeting", unavailable)
	for name, c := range map[string]struct {
		prepare func(*rig)
		script  []any
		want    []string
		outcome Outcome
		log     string
	}{
		"calls are encrypted end to end": {func(r *rig) { r.encrypted = true }, []any{5 * sec},
			[]string{"say encrypted", "ends encrypted"}, Encrypted, "calls are encrypted end to end"},
		"the capabilities cannot be read": {func(r *rig) { r.fails["encrypted"] = talk.ErrUnavailable }, []any{5 * sec},
			unavailable, Unavailable, "error=unavailable"},
		"no media server": {func(r *rig) { r.fails["sessions"] = errors.New("has no media server (mcu)") }, []any{5 * sec},
			unavailable, Unavailable, "has no media server (mcu)"},
		"Nextcloud cannot be reached": {func(r *rig) { r.fails["room"] = talk.ErrUnavailable }, []any{sec, token + "#", 5 * sec},
			inMenu, Unavailable, "error=unavailable"},
		"an error that has the address in it": {func(r *rig) {
			r.fails["verify"] = &url.Error{Op: "Get", URL: "https://cloud.example/room/" + token + "/pin/" + pin, Err: errors.New("no route")}
		}, []any{sec, token + "#" + pin + "#", 5 * sec},
			cat("say welcome enter-meeting", "say enter-pin", unavailable), Unavailable, "no route"},
		"the secret is wrong": {func(r *rig) { r.fails["room"] = talk.ErrChecksum }, []any{sec, token + "#", 5 * sec},
			inMenu, Unavailable, "level=ERROR"},
		"guesses at Nextcloud": {func(r *rig) { r.fails["room"] = talk.ErrGuesses }, []any{sec, token + "#", 5 * sec},
			inMenu, Unavailable, "Nextcloud refuses our address"},
		"too many conversations": {func(r *rig) { r.enterErr = talkroom.ErrRooms }, []any{sec, token + "#" + pin + "#", 5 * sec},
			[]string{"say welcome enter-meeting", "say enter-pin", "say full", "ends full"}, Full, ""},
		"the service's conversations end": {func(r *rig) { r.enterErr = talkroom.ErrStopped }, []any{sec, token + "#" + pin + "#", 5 * sec},
			[]string{"say welcome enter-meeting", "say enter-pin", "say unavailable", "ends unavailable"}, Unavailable, ""},
		"too many phones": {func(r *rig) { r.phones = 3 }, []any{sec, token + "#" + pin + "#", 5 * sec},
			[]string{"say welcome enter-meeting", "say enter-pin", "enter 4271953862", "leave", "say full", "ends full"}, Full, ""},
		"the phone cannot be shown": {func(r *rig) { r.addErr = talk.ErrBacklog }, []any{sec, token + "#" + pin + "#", 5 * sec},
			[]string{"say welcome enter-meeting", "say enter-pin", "enter 4271953862", "say joining", "leave",
				"say unavailable", "ends unavailable"},
			Unavailable, "too much waits"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				c.prepare(r)
				r.call()
				synctest.Wait()
				r.script(c.script...)
				r.was(c.want...)
				r.leaves()
				r.ended(c.outcome)
				if !strings.Contains(r.logs.String(), c.log) {
					t.Errorf("the log has no %q:\n%s", c.log, r.logs.String())
				}
			})
		})
	}
}

func TestCallsThatAreNotAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*rig)
		code    int
		refused string
		outcome Outcome
	}{
		"no ports":              {prepare: func(r *rig) { r.openErr = media.ErrNoPorts }, refused: `480 ["Retry-After: 5"]`, outcome: Busy},
		"as many as may be":     {prepare: func(r *rig) { r.s.asked = 2 }, refused: `480 ["Retry-After: 5"]`, outcome: Busy},
		"no codec":              {prepare: func(r *rig) { r.offer = errors.New("none") }, code: 488, outcome: NoMedia},
		"nobody has the number": {prepare: func(r *rig) { r.q.Direct, r.fails["direct"] = true, talk.ErrNotFound }, code: 404, outcome: NotFound},
		"a direct call without Nextcloud": {prepare: func(r *rig) { r.q.Direct, r.fails["direct"] = true, talk.ErrUnavailable },
			code: 480, outcome: Unavailable},
		"a Nextcloud that is none of ours": {prepare: func(r *rig) { r.q.Backend = "https://other.example/" }, code: 480, outcome: Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				c.prepare(r)
				asked := r.s.asked
				r.call()
				<-r.over
				var refused *sipflow.StatusError
				if c.code != 0 && (!errors.As(r.err, &refused) || refused.Code != c.code) || r.refused != c.refused {
					t.Errorf("%v, refused %q", r.err, r.refused)
				}
				if st := r.s.Stats(); st.Calls[c.outcome] != 1 || st.Asked != asked {
					t.Errorf("counted %v, %d asked", st.Calls, st.Asked)
				}
				r.discreet()
			})
		})
	}
}
