package phone

import (
	"crypto/sha256"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// meanwhile has f called once, the n-th time that something follows from what
// the database has said before.
func (h *house) meanwhile(n int64, f func()) {
	var times atomic.Int64
	h.Service.between = func() {
		if times.Add(1) == n {
			f()
		}
	}
}

// logInAgain gives a user a token of his own from now on, a new one if the last
// has ended.
func (h *house) logInAgain(who string) {
	h.t.Helper()
	var err error
	if _, h.tokens[who], err = h.cfg.Store.LogIn(h.t.Context(), who, passwordOf(who)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) tokenOf(who string) tokenHash { return sha256.Sum256([]byte(h.tokens[who])) }

// Who logs out while something is being opened with his token has it closed, too.
func TestATokenThatEndsMeanwhileOpensNothing(t *testing.T) {
	const unauthorized = "User not authenticated."
	logout := func(h *house, who string) func() {
		return func() { h.wants(who, "POST", "/api/v3/auth/logout", "", 204, "") }
	}
	t.Run("a device", func(t *testing.T) {
		at(t, func(h *house) {
			h.meanwhile(1, logout(h, "sam"))
			_, res, text := h.dial("sam", "/api/v3/notification/socket")
			h.compare("device", res, text, 401, unauthorized)
		})
	})
	t.Run("a call", func(t *testing.T) {
		at(t, func(h *house) {
			kim := h.notified("kim")
			h.meanwhile(1, logout(h, "sam"))
			_, res, text := h.dial("sam", initiatePath(callA, h.id("kim")))
			h.compare("call", res, text, 401, unauthorized)
			kim.hears("callee", endedText(callA)) // of what was never told to ring
		})
	})
	t.Run("a call on the direct path", func(t *testing.T) {
		at(t, func(h *house) {
			kim := h.notified("kim")
			h.meanwhile(1, logout(h, "sam"))
			h.wants("sam", "POST", "/api/v3/phone/initiate/"+callA+"/to/"+h.id("kim"), `{"ipV4Addr":"192.0.2.1"}`, 401, unauthorized)
			if got := kim.heard(); len(got) != 2 || got[1] != endedText(callA) {
				t.Errorf("%q", got)
			}
		})
	})
	t.Run("an answer", func(t *testing.T) {
		at(t, func(h *house) {
			c := h.ringing()
			h.meanwhile(1, logout(h, "kim"))
			if to, _, _ := h.dial("kim", answerPath(callA)); to != nil {
				go to.read()
				to.ends("callee", websocket.StatusGoingAway)
			}
			c.from.ends("caller", websocket.StatusGoingAway)
		})
	})
}

func TestLogoutSparesWhoHasLoggedInAgain(t *testing.T) {
	at(t, func(h *house) {
		before := h.notified("sam")
		var after *client
		h.meanwhile(2, func() { // the token has ended, the sockets have not
			h.logInAgain("sam")
			after = h.notified("sam")
		})
		h.wants("sam", "POST", "/api/v3/auth/logout", "", 204, "")
		before.ends("of the old token", websocket.StatusGoingAway)
		after.stays("of the new one")
	})
}

func TestTokensThatAreMadeWhileTheyAreCheckedAreGood(t *testing.T) {
	at(t, func(h *house) {
		before := h.notified("sam")
		if err := h.cfg.Store.endToken(h.t.Context(), h.tokenOf("sam")); err != nil {
			t.Fatal(err)
		}
		var after *client
		h.meanwhile(1, func() {
			h.logInAgain("sam")
			after = h.notified("sam")
		})
		if err := h.recheck(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		before.ends("of the old token", websocket.StatusGoingAway)
		after.stays("of the new one")
	})
}
