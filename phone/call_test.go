package phone

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func TestTwoUsersSpeak(t *testing.T) {
	at(t, func(h *house) {
		c := h.talking()
		c.from.say(audio(320, 1))
		c.from.say(audio(1, -2))
		c.to.hears("callee", audio(320, 1), audio(1, -2))
		c.to.say(audio(8190, 7)) // 16384 bytes
		c.from.hears("caller", audio(8190, 7))
		// Text is ignored, and so is audio that is not as long as it says.
		if err := c.from.Write(h.t.Context(), websocket.MessageText, []byte(audio(1, 1))); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"", "abc", audio(2, 1)[:7], audio(2, 1) + "x", "\xff\xff\xff\xff"} {
			c.from.say(bad)
		}
		c.from.say(audio(0, 0))
		c.to.hears("callee", audio(0, 0))
		// A message in pieces is one message.
		w, err := c.from.Writer(h.t.Context(), websocket.MessageBinary)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []byte(audio(3, 9)) {
			if _, err := w.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		c.to.hears("callee", audio(3, 9))

		// The caller hangs up, and posts decline as some clients do.
		if err := c.from.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err) // the code was not echoed
		}
		c.to.ends("callee", websocket.StatusGoingAway)
		c.kim1.hears("first device", endedText(callA))
		c.kim2.hears("second device", endedText(callA))
		c.sam.hears("the caller's device")
		h.wants("sam", "POST", "/api/v3/phone/decline/"+callA, "", 200, "")
		c.kim1.hears("first device")
		s := h.Stats()
		if s.Calls != 0 || s.Sockets != 3 || s.Devices != 3 || s.Users != 2 || s.Mediated != 1 || s.Answered != 1 || s.Outcomes[Completed] != 1 ||
			s.FramesRelayed != 5 || s.FramesMalformed != 5 || s.FramesDropped != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCalleeHangsUp(t *testing.T) {
	for _, code := range []websocket.StatusCode{websocket.StatusNormalClosure, websocket.StatusGoingAway, 4000} {
		at(t, func(h *house) {
			c := h.talking()
			if err := c.to.Close(code, ""); err != nil {
				t.Error(err) // the code was not echoed
			}
			c.from.ends("caller", websocket.StatusGoingAway)
			c.kim1.hears("first device", endedText(callA))
			c.sam.hears("the caller's device")
		})
	}
}

func TestAudioBeforeTheAnswerIsDropped(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		c.from.say(audio(320, 1))
		settle()
		c.to = h.open("kim", answerPath(callA))
		if got := c.to.heard(); len(got) != 1 {
			t.Errorf("%q", got)
		}
		c.from.say(audio(1, 1))
		c.to.hears("callee", audio(1, 1))
	})
}

func TestCallerGivesUpWhileItRings(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		_ = c.from.Close(websocket.StatusNormalClosure, "")
		c.kim1.hears("first device", endedText(callA))
		c.sam.hears("the caller's device")
		if _, res, text := h.dial("kim", answerPath(callA)); res.StatusCode != 404 {
			t.Errorf("answered: %d %s", res.StatusCode, text)
		}
		if s := h.Stats(); s.Outcomes[Cancelled] != 1 {
			t.Errorf("%+v", s.Outcomes)
		}
	})
}

func TestCalleeDeclines(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		h.wants("eve", "POST", "/api/v3/phone/decline/"+callA, "", 200, "") // no party of it
		c.from.stays("caller")
		h.wants("kim", "POST", "/api/v3/phone/decline/"+strings.ToLower(callA), "", 200, "")
		c.from.ends("caller", websocket.StatusGoingAway)
		c.sam.hears("the caller's device", endedText(callA))
		c.kim1.hears("first device", endedText(callA))
		c.kim2.hears("second device", endedText(callA))
		if s := h.Stats(); s.Outcomes[Declined] != 1 || s.Calls != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestDeclineEndsACallThatIsUp(t *testing.T) {
	for _, who := range []string{"sam", "kim"} {
		at(t, func(h *house) {
			c := h.talking()
			h.wants(who, "POST", "/api/v3/phone/decline/"+callA, "", 200, "")
			c.from.ends("caller", websocket.StatusGoingAway)
			c.to.ends("callee", websocket.StatusGoingAway)
			c.sam.hears("the caller's device", endedText(callA))
			c.kim1.hears("first device", endedText(callA))
		})
	}
}

func TestNobodyAnswersForAMinute(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		c.sam.heard()
		time.Sleep(52 * time.Second)
		c.from.stays("caller")
		time.Sleep(5 * time.Second)
		c.from.ends("caller", websocket.StatusGoingAway)
		c.kim1.hears("first device", endedText(callA))
		c.sam.hears("the caller's device")
		if s := h.Stats(); s.Outcomes[NoAnswer] != 1 {
			t.Errorf("%+v", s.Outcomes)
		}
	})
}

func TestACallHasALongestTime(t *testing.T) {
	at(t, func(h *house) {
		c := h.talking()
		time.Sleep(time.Hour - 10*time.Second)
		c.from.stays("caller")
		time.Sleep(10 * time.Second)
		c.from.ends("caller", websocket.StatusGoingAway)
		c.to.ends("callee", websocket.StatusGoingAway)
		c.kim1.hears("first device", endedText(callA))
		if s := h.Stats(); s.Outcomes[TooLong] != 1 {
			t.Errorf("%+v", s.Outcomes)
		}
	})
}

func TestPostAnswerBesideTheSocketDoesNotEndTheCall(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		h.wants("kim", "POST", "/api/v3/phone/answer/"+callA, "", 200, "")
		c.kim1.hears("first device", answeredText(callA))
		c.from.stays("caller")
		c.to = h.open("kim", answerPath(callA))
		c.kim1.hears("first device", answeredText(callA))
		h.wants("kim", "POST", "/api/v3/phone/answer/"+callA, "", 200, "")
		h.wants("sam", "POST", "/api/v3/phone/answer/"+callA, "", 200, "")
		c.from.stays("caller")
		c.to.stays("callee")
		c.sam.hears("the caller's device", answeredText(callA)) // his own post
	})
}

// Of many devices that answer at once one gets the call, the others 404.
func TestTheFirstOfManyAnswersWins(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		const devices = 20
		var all sync.WaitGroup
		won := make(chan *client, devices)
		for range devices {
			all.Go(func() {
				phone, res, text := h.dial("kim", answerPath(callA))
				if phone != nil {
					won <- phone
				} else {
					h.compare("answer", res, text, 404, "Couldn't find phone call.")
				}
			})
		}
		all.Wait()
		if len(won) != 1 {
			t.Fatalf("%d devices have answered", len(won))
		}
		c.kim1.hears("first device", answeredText(callA))
		to := <-won
		go to.read()
		c.from.say(audio(1, 1))
		if got := to.heard(); len(got) != 2 || got[1] != audio(1, 1) {
			t.Errorf("%q", got)
		}
	})
}

func TestBothSidesCloseAtOnce(t *testing.T) {
	at(t, func(h *house) {
		c := h.talking()
		var all sync.WaitGroup
		for _, phone := range []*client{c.from, c.to} {
			all.Go(func() { _ = phone.Close(websocket.StatusNormalClosure, "") })
		}
		all.Go(func() { h.ask("kim", "POST", "/api/v3/phone/decline/"+callA, "") })
		all.Wait()
		if got := c.kim1.heard(); len(got) != 1 || got[0] != endedText(callA) {
			t.Errorf("%q", got)
		}
		if s := h.Stats(); s.Calls != 0 || s.Outcomes[Completed] != 1 || s.Sockets != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// Whatever comes first, the call ends once, and nothing of it is left.
func TestDeclineCrossesTheAnswer(t *testing.T) {
	for i := range 20 {
		at(t, func(h *house) {
			c := h.ringing()
			h.net.Late = nil
			var all sync.WaitGroup
			var to *client
			all.Go(func() {
				time.Sleep(time.Duration(i%5) * 100 * time.Microsecond)
				to, _, _ = h.dial("kim", answerPath(callA))
			})
			all.Go(func() { h.ask("kim", "POST", "/api/v3/phone/decline/"+callA, "") })
			all.Wait()
			c.from.ends("caller", websocket.StatusGoingAway)
			if to != nil {
				go to.read()
				to.ends("callee", websocket.StatusGoingAway)
			}
			last := ""
			for _, m := range c.kim1.heard() {
				last = m
			}
			if last != endedText(callA) {
				t.Errorf("the last message is %q", last)
			}
			if s := h.Stats(); s.Calls != 0 || s.Sockets != 3 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestLogoutDuringACallEndsIt(t *testing.T) {
	for _, who := range []string{"sam", "kim"} {
		at(t, func(h *house) {
			c := h.talking()
			h.wants(who, "POST", "/api/v3/auth/logout", "", 204, "")
			c.from.ends("caller", websocket.StatusGoingAway)
			c.to.ends("callee", websocket.StatusGoingAway)
			gone, stays := c.sam, c.kim1
			if who == "kim" {
				gone, stays = c.kim1, c.sam
			}
			gone.ends("his device", websocket.StatusGoingAway)
			stays.stays("the other's device")
			stays.hears("the other's device", endedTexts(stays, c)...)
			h.wants(who, "GET", "/api/v3/users/favorites", "", 401, "User not authenticated.")
		})
	}
}

func endedTexts(device *client, c *talk) []string { return []string{endedText(callA)} }

// Users who are deleted or get a new password in another process lose their
// sockets soon.
func TestTokensEndedElsewhereEndSockets(t *testing.T) {
	at(t, func(h *house) {
		c := h.talking()
		eve := h.notified("eve")
		ended := make(chan error, 1)
		ctx, cancel := contextOf(h.t)
		go func() { ended <- h.Run(ctx) }()
		settle()
		if err := h.cfg.Store.SetPassword(h.t.Context(), h.users["kim"].ID, "another password"); err != nil {
			t.Fatal(err)
		}
		if err := h.cfg.Store.Delete(h.t.Context(), h.users["eve"].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkEvery)
		c.kim1.ends("kim", websocket.StatusGoingAway)
		eve.ends("eve", websocket.StatusGoingAway)
		c.from.ends("caller", websocket.StatusGoingAway)
		c.sam.stays("sam")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownEndsEverythingWith1001(t *testing.T) {
	at(t, func(h *house) {
		c := h.talking()
		h.Drain()
		c.from.say(audio(1, 1))
		c.to.hears("callee", audio(1, 1))
		if _, res, text := h.dial("eve", initiatePath(callB, h.id("kim"))); res.StatusCode != 503 {
			t.Errorf("a new call: %d %s", res.StatusCode, text)
		}
		h.Shutdown()
		for what, s := range map[string]*client{"caller": c.from, "callee": c.to, "sam": c.sam, "kim": c.kim1} {
			s.ends(what, websocket.StatusGoingAway)
		}
		c.kim1.hears("first device", endedText(callA))
		if _, res, text := h.dial("eve", "/api/v3/notification/socket"); res.StatusCode != 503 {
			t.Errorf("a new socket: %d %s", res.StatusCode, text)
		}
		if s := h.Stats(); s.Outcomes[Ended] != 1 {
			t.Errorf("%+v", s.Outcomes)
		}
	})
}

func TestDirectPath(t *testing.T) {
	const addresses = `{"ipV4Addr":"192.0.2.1","ipV6Addr":"2001:db8::1"}`
	direct := func(h *house, body string) (sam, kim *client) {
		sam, kim = h.notified("sam"), h.notified("kim")
		h.wants("sam", "POST", "/api/v3/phone/initiate/"+strings.ToLower(callA)+"/to/"+h.id("kim"), body, 200, "")
		kim.hears("callee", `{"type":{"incomingPhoneCall":{}},"info":"sam","contentID":"`+callA+`","caller":{"userID":"`+h.id("sam")+
			`","username":"sam","displayName":"Sam <Iam>","userImage":"sam.png","preferredPronoun":"they"},"callerAddress":`+body+`}`)
		return sam, kim
	}
	t.Run("answered", func(t *testing.T) {
		at(t, func(h *house) {
			sam, kim := direct(h, addresses)
			if _, res, text := h.dial("kim", answerPath(callA)); res.StatusCode != 404 { // there is no socket on this path
				t.Errorf("%d %s", res.StatusCode, text)
			}
			h.wants("sam", "POST", "/api/v3/phone/answer/"+callA, "", 200, "") // not the callee: changes nothing
			if h.Active() != 1 {
				t.Error("the caller has answered his own call")
			}
			sam.hears("caller", answeredText(callA))
			h.wants("kim", "POST", "/api/v3/phone/answer/"+callA, "", 200, "")
			kim.hears("callee", answeredText(callA))
			time.Sleep(2 * time.Minute)
			sam.hears("caller")
			kim.hears("callee")
			if s := h.Stats(); s.Calls != 0 || s.Outcomes[HandedOver] != 1 || s.Direct != 1 {
				t.Errorf("%+v", s)
			}
		})
	})
	t.Run("declined", func(t *testing.T) {
		at(t, func(h *house) {
			sam, kim := direct(h, `{"ipV4Addr":"192.0.2.1"}`)
			h.wants("kim", "POST", "/api/v3/phone/decline/"+callA, "", 200, "")
			sam.hears("caller", endedText(callA))
			kim.hears("callee", endedText(callA))
		})
	})
	t.Run("held for a minute at most", func(t *testing.T) {
		at(t, func(h *house) {
			sam, kim := direct(h, `{"ipV6Addr":"fe80::1%en0"}`)
			time.Sleep(57 * time.Second)
			if h.Active() != 1 {
				t.Error("ended early")
			}
			time.Sleep(2 * time.Second)
			if h.Active() != 0 {
				t.Error("not ended")
			}
			sam.hears("caller", endedText(callA))
			kim.hears("callee", endedText(callA))
		})
	})
}

func TestBusyUsersAndIDsThatAreTaken(t *testing.T) {
	at(t, func(h *house) {
		h.relate(Favorite, "eve", "sam")
		h.relate(Favorite, "eve", "low")
		c := h.ringing()
		eve := h.notified("eve")
		// Of a call that rings and of one that is up alike.
		for range 2 {
			for _, tt := range []struct{ from, to, call, reason string }{
				{"sam", "eve", callB, "Caller already on a phone call."},
				{"sam", "eve", callA, "Caller already on a phone call."},
				{"eve", "kim", callB, "User is unavailable."},
				{"eve", "sam", callB, "User is unavailable."},
				{"eve", "kim", callA, "User is unavailable."},
			} {
				_, res, text := h.dial(tt.from, initiatePath(tt.call, h.id(tt.to)))
				h.compare(tt.from+" to "+tt.to, res, text, 400, tt.reason)
				h.wants(tt.from, "POST", "/api/v3/phone/initiate/"+tt.call+"/to/"+h.id(tt.to), `{"ipV4Addr":"192.0.2.1"}`, 400, tt.reason)
			}
			if c.to == nil {
				c.to = h.open("kim", answerPath(callA))
			}
		}
		// Two others cannot take its ID.
		if err := h.cfg.Store.Update(h.t.Context(), User{ID: h.users["low"].ID, Username: "low", Level: "verified"}); err != nil {
			t.Fatal(err)
		}
		_, res, text := h.dial("low", initiatePath(strings.ToLower(callA), h.id("eve")))
		h.compare("the ID of another call", res, text, 400, "There already is a phone call with this call_ID.")
		eve.hears("eve")
		c.from.stays("caller")
	})
}

// What ended is told before the next call can begin.
func TestEndOfACallIsToldBeforeTheNext(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		_ = c.from.Close(websocket.StatusNormalClosure, "")
		c.from = h.open("sam", initiatePath(callB, h.id("kim")))
		got := c.kim1.heard()
		if len(got) != 2 || got[0] != endedText(callA) || !strings.Contains(got[1], callB) {
			t.Errorf("%q", got)
		}
	})
}

// An answer whose connection is lost before it is one leaves the call to others.
func TestAnAnswerThatFailsLeavesTheCall(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		r, err := http.NewRequest("GET", "http://"+houseAddr+answerPath(callA), nil)
		if err != nil {
			t.Fatal(err)
		}
		h.authorize(r.Header, "kim")
		for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
			r.Header.Set(k, v)
		}
		h.ServeHTTP(noHijack{header: http.Header{}}, r)
		synctest.Wait()
		c.to = h.open("kim", answerPath(callA))
		c.kim1.hears("first device", answeredText(callA))
	})
}

// noHijack is a ResponseWriter whose connection cannot be had.
type noHijack struct{ header http.Header }

func (n noHijack) Header() http.Header         { return n.header }
func (n noHijack) Write(b []byte) (int, error) { return len(b), nil }
func (n noHijack) WriteHeader(int)             {}

// A callee who knows the call's ID may answer as soon as the caller has his 101.
func TestAnAnswerMayComeBeforeTheNotification(t *testing.T) {
	at(t, func(h *house) {
		kim := h.notified("kim")
		settle()
		l := newLeg(&h.stats.frames)
		id, _ := ParseID(callA)
		c := &call{id: id, caller: h.users["sam"], callee: h.users["kim"], legs: [2]*leg{l}}
		if r := h.begin(c, errOffline); r != nil {
			t.Fatal(r)
		}
		to := h.open("kim", answerPath(callA))
		kim.hears("device", answeredText(callA))
		if !h.ring(c, l) {
			t.Error("the call has ended")
		}
		kim.hears("device, told late")
		to.stays("callee")
		if m, _, _ := l.take(); !strings.HasPrefix(string(m), `{"phonecallStartTime"`) {
			t.Errorf("%q", m)
		}
	})
}

// An operator reads of each call that came to nothing, in the words of all flows.
func TestTheEndOfACallIsALine(t *testing.T) {
	for _, all := range []bool{false, true} {
		at(t, func(h *house) {
			c := h.ringing()
			_ = c.from.Close(websocket.StatusNormalClosure, "")
			settle()
			h.Shutdown()
			want := `level=INFO msg="call ended" flow=phone calling=sam called=kim peer=10.0.0.2 outcome=cancelled took=`
			if text := h.log.String(); strings.Count(text, "call ended") != 1 || !strings.Contains(text, want) ||
				!strings.Contains(text, " call="+callA+"\n") {
				t.Errorf("%s\nwant %s", text, want)
			}
		})
		at(t, func(h *house) {
			c := h.talking()
			_ = c.from.Close(websocket.StatusNormalClosure, "")
			settle()
			h.Shutdown()
			if text := h.log.String(); strings.Contains(text, "outcome=completed") != all {
				t.Errorf("log.calls %v: %s", all, text)
			}
		}, func(c *Config) { c.LogCalls = all })
	}
}

func TestRefusedPagesAreLogged(t *testing.T) {
	at(t, func(h *house) {
		for range 3 {
			h.ask("sam", "GET", "/api/v3/users/favorites", "", "Origin", "https://evil.example")
		}
		settle()
		settle()
		h.Shutdown()
		if text := h.log.String(); !strings.Contains(text,
			`add them to phone.origins if they may call" refused=3 pages="[\"https://evil.example\" by 10.0.0.2]"`) {
			t.Error(text)
		}
	})
}

// A client that is none of the two may end a call, when something else has let it.
func TestACallIsEndedByItsID(t *testing.T) {
	at(t, func(h *house) {
		c := h.talking()
		if h.EndCall("none") || h.EndCall(strings.Replace(callA, "6F", "7F", 1)) {
			t.Error("a call that there is not was ended")
		}
		if !h.EndCall(callA) || h.EndCall(callA) {
			t.Error("a call ends once")
		}
		c.from.ends("caller", websocket.StatusGoingAway)
		c.to.ends("callee", websocket.StatusGoingAway)
		c.sam.hears("the caller's device", endedText(callA))
		c.kim1.hears("first device", endedText(callA))
	})
}
