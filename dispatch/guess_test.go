package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/sipflow/siptest"
)

func newGuess(g *limit.Failures, caller, room string) guess {
	c := &call{d: &Dispatcher{}, rule: &rule{Rule: Rule{ID: "r"}}, Call: Call{Trunk: "t1", FromUser: caller}}
	out := c.guess(room)
	out.of = g
	return out
}

func TestWrongPINsOfACallerAndForARoomAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limit.NewFailures(guessTime)
		for range maxCallerGuesses {
			if a := newGuess(g, "201", "a"); !a.allowed() || !a.take() {
				t.Fatal("refused too early")
			}
		}
		if a := newGuess(g, "201", "b"); a.allowed() || a.take() {
			t.Error("a caller may guess on for another room")
		}
		// Who changes his number has the room's.
		tried := 0
		for i := range 1000 {
			if newGuess(g, fmt.Sprint(i), "a").take() {
				tried++
			}
		}
		if want := maxRoomGuesses - maxCallerGuesses; tried != want {
			t.Errorf("%d PINs may be tried, want %d", tried, want)
		}
		if !newGuess(g, "301", "c").allowed() {
			t.Error("another room suffers")
		}
		time.Sleep(guessTime)
		if !newGuess(g, "201", "a").allowed() {
			t.Error("it does not end")
		}
		right := newGuess(g, "201", "a")
		for range 10 * maxRoomGuesses {
			if !right.take() {
				t.Fatal("right PINs count")
			}
			right.right()
		}
		// A caller with too many wrong PINs is not forgotten, however many others
		// guess.
		for range maxCallerGuesses {
			newGuess(g, "401", "d").take()
		}
		for i := range 50_000 {
			newGuess(g, fmt.Sprint("crowd ", i), fmt.Sprint(i)).take()
		}
		if newGuess(g, "401", "d").allowed() {
			t.Error("a crowd frees a caller who has guessed too often")
		}
	})
}

func TestACallerWhoGuessesPINsIsNotAnsweredAnyMore(t *testing.T) {
	const rules = `{id: r, url: "https://hooks.test/", pin_check: webhook}`
	for _, c := range []struct{ name, rules, wrong string }{
		{"here", hookRule, `{"room_name":"a","pin":"1234"}`},
		{"by the webhook", rules, `{"room_name":"a","pin":"*"}`},
		{"by the webhook, which refuses", rules, `{"action":"reject"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flow{rules: c.rules, script: siptest.Script{Do: keys("1#2#3#")}, hook: func(s *hookSaid) reply {
				if s.event == "pin_entered" {
					return reply{body: c.wrong}
				}
				return reply{body: `{"room_name":"a","pin":"1234"}`}
			}}
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				h := &hooked{t: t}
				caller := n.Phone("201", "10.0.0.2:5060", f.script)
				defer caller.Close()
				_, stop := f.start(t, n, h)
				var err error
				calls := 0
				for ; err == nil && calls <= maxCallerGuesses; calls++ {
					err = caller.Call(t.Context(), "sip:5000@10.0.0.1:5060")
					time.Sleep(5 * time.Second)
				}
				if err == nil || !strings.Contains(err.Error(), "403") || calls <= pinTries {
					t.Errorf("call %d: %v", calls, err)
				}
				time.Sleep(time.Minute)
				stop()
				time.Sleep(time.Minute)
				synctest.Wait()
				if strings.Contains(h.log.String(), "1234") {
					t.Error("the log has the PIN")
				}
			})
		})
	}
}

// Calls that began before there were too many wrong PINs try no more either.
func TestARightPINIsNotTakenAfterTooManyWrongOnes(t *testing.T) {
	for _, c := range []struct {
		before int
		called bool
	}{{maxCallerGuesses - 2, true}, {maxCallerGuesses - 1, false}} {
		synctest.Test(t, func(t *testing.T) {
			f := flow{rules: hookRule, hook: says(`{"room_name":"a","pin":"1234"}`), script: siptest.Script{Do: keys("1#1234#"),
				HangUpAfter: 20 * time.Second}}
			n := siptest.NewNetwork()
			h := &hooked{t: t}
			caller := n.Phone("201", "10.0.0.2:5060", f.script)
			defer caller.Close()
			room := n.Phone("room", "10.0.0.3:5060", siptest.Script{})
			defer room.Close()
			_, stop := f.start(t, n, h)
			this := &call{d: h.d, rule: h.d.now.Load().table.rules[0], Call: Call{Trunk: "t1", FromUser: "201"}}
			for range c.before {
				this.guess("a").take()
			}
			if err := caller.Call(t.Context(), "sip:5000@10.0.0.1:5060"); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			if called := len(room.Requests("INVITE")) > 0; called != c.called {
				t.Errorf("after %d wrong ones: the room was called: %v", c.before, called)
			}
			stop()
			time.Sleep(time.Minute)
		})
	}
}
