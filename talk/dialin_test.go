package talk_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

// dialIn runs a test with a Nextcloud whose conversation has participants with
// PINs.
func dialIn(t *testing.T, f func(r *rig, b *talk.Backend)) {
	t.Helper()
	bubble(t, func(r *rig) {
		r.lab.Cloud.Set(token, func(c *talktest.Conversation) {
			c.Name, c.SIP = "Team", 1
			c.PINs = map[string]talktest.Person{
				"1234567": {ActorID: "alice"},
				"2345678": {ActorID: "bob", Type: 2, Permissions: 254},
				"3456789": {ActorType: "emails", ActorID: "b5c3", Type: 4, Permissions: 4 | 8},
				"4567890": {ActorID: "0b2f8f1e-0d0a-4d6c-9c2b-5d0f2d9c1a11", Permissions: 4 | 16},
			}
		})
		f(r, r.session.Backend())
	})
}

func TestNextcloudDescribesAConversation(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *talktest.Conversation)
		want   talk.RoomInfo
	}{
		"by PIN":     {nil, talk.RoomInfo{SIP: talk.SIPByPIN}},
		"no SIP":     {func(c *talktest.Conversation) { c.SIP = 0 }, talk.RoomInfo{SIP: talk.SIPOff}},
		"open":       {func(c *talktest.Conversation) { c.SIP = 2 }, talk.RoomInfo{SIP: talk.SIPOpen}},
		"of later":   {func(c *talktest.Conversation) { c.SIP = 9 }, talk.RoomInfo{SIP: talk.SIPOff}},
		"lobby":      {func(c *talktest.Conversation) { c.Lobby = true }, talk.RoomInfo{SIP: talk.SIPByPIN, Lobby: true}},
		"consent":    {func(c *talktest.Conversation) { c.Consent = true }, talk.RoomInfo{SIP: talk.SIPByPIN, Consent: true}},
		"recorded":   {func(c *talktest.Conversation) { c.Recording = 2 }, talk.RoomInfo{SIP: talk.SIPByPIN, Recording: true}},
		"soon":       {func(c *talktest.Conversation) { c.Recording = 3 }, talk.RoomInfo{SIP: talk.SIPByPIN, Recording: true}},
		"not at all": {func(c *talktest.Conversation) { c.Recording = 5 }, talk.RoomInfo{SIP: talk.SIPByPIN}},
	} {
		t.Run(name, func(t *testing.T) {
			dialIn(t, func(r *rig, b *talk.Backend) {
				if c.change != nil {
					r.lab.Cloud.Set(token, c.change)
				}
				c.want.Token, c.want.Name = token, "Team"
				got, err := b.Room(r.t.Context(), token)
				if err != nil || got != c.want {
					t.Errorf("%+v, %v, want %+v", got, err, c.want)
				}
				r.lab.Cloud.Join(token, "alice")
				if got, err := b.Room(r.t.Context(), token); err != nil || !got.HasCall {
					t.Errorf("with somebody in the call: %+v, %v", got, err)
				}
			})
		})
	}
}

func TestNextcloudKnowsWhoDialsIn(t *testing.T) {
	dialIn(t, func(r *rig, b *talk.Backend) {
		room := talk.RoomInfo{Token: token, Name: "Team", SIP: talk.SIPByPIN}
		for pin, want := range map[string]talk.Caller{
			"1234567": {ActorType: "users", ActorID: "alice", Name: "alice", MayPublish: true, MayStart: true},
			"2345678": {ActorType: "users", ActorID: "bob", Name: "bob", Moderator: true, IgnoresLobby: true, MayPublish: true, MayStart: true},
			"3456789": {ActorType: "emails", ActorID: "b5c3", IgnoresLobby: true},
			"4567890": {ActorType: "users", ActorID: "0b2f8f1e-0d0a-4d6c-9c2b-5d0f2d9c1a11", MayPublish: true},
		} {
			want.Room, want.AttendeeID, want.Member = room, 7, true
			for _, old := range []bool{false, true} { // versions of Talk
				r.lab.Cloud.Change(func(c *talktest.Cloud) { c.OldPIN = old })
				if got, err := b.VerifyDialin(r.t.Context(), token, pin); err != nil || got != want {
					t.Errorf("%+v, %v, want %+v", got, err, want)
				}
			}
		}
		// The lobby holds whoever does not ignore it; then the rest is not told.
		r.lab.Cloud.Join(token, "bob")
		r.lab.Cloud.Set(token, func(c *talktest.Conversation) { c.Lobby = true })
		if got, err := b.VerifyDialin(r.t.Context(), token, "1234567"); err != nil || !got.Room.Lobby || got.IgnoresLobby || got.MayStart {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := b.VerifyDialin(r.t.Context(), token, "2345678"); err != nil || !got.Room.Lobby || !got.Room.HasCall {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestNextcloudMakesGuestsOfStrangers(t *testing.T) {
	dialIn(t, func(r *rig, b *talk.Backend) {
		_, err := b.OpenDialin(r.t.Context(), token)
		if !errors.Is(err, talk.ErrNoSIP) || !strings.Contains(err.Error(), "nobody without a PIN") {
			t.Errorf("without a PIN: %v", err)
		}
		r.lab.Cloud.Set(token, func(c *talktest.Conversation) { c.SIP = 2 })
		got, err := b.OpenDialin(r.t.Context(), token)
		if err != nil || got.ActorType != "guests" || got.ActorID == "" || got.Member || got.Moderator || !got.MayPublish || got.Name != "" {
			t.Errorf("%+v, %v", got, err)
		}
		if n := r.lab.Cloud.Guests(token); n != 1 {
			t.Errorf("%d guests", n)
		}
	})
}

func TestNextcloudKnowsWhoseNumberWasCalled(t *testing.T) {
	dialIn(t, func(r *rig, b *talk.Backend) {
		r.lab.Cloud.Number("493055500300", "alice")
		for _, number := range []string{"+493055500300", "493055500300", "00493055500300"} {
			got, err := b.DirectDialin(r.t.Context(), number, "+4930123456")
			if err != nil || got.Room.Token == "" || got.Room.Token == token || got.ActorType != "guests" || got.Room.Name != "4930123456" {
				t.Errorf("%s: %+v, %v", number, got, err)
			}
		}
		if body := r.lab.Cloud.LastBody(); body != `{"caller":"4930123456","phoneNumber":"493055500300"}` {
			t.Errorf("asked %s", body)
		}
		for _, number := range []string{"+493055500301", "", "alice", "+49 30", strings.Repeat("1", 40)} {
			if _, err := b.DirectDialin(r.t.Context(), number, "x\r\ny"); !errors.Is(err, talk.ErrNotFound) {
				t.Errorf("%q: %v", number, err)
			}
		}
	})
}

// asked are the four questions, each about what there is not.
func asked(b *talk.Backend, ctx context.Context) map[string]error {
	_, room := b.Room(ctx, "1000000001")
	_, verify := b.VerifyDialin(ctx, token, "9999999")
	_, open := b.OpenDialin(ctx, "1000000001")
	_, direct := b.DirectDialin(ctx, "+49111222333", "+49444555666")
	return map[string]error{"room": room, "verify-dialin": verify, "open-dial-in": open, "direct-dial-in": direct}
}

// What goes wrong has a name, and says nothing of what was entered.
func TestRefusalsOfDialInHaveNames(t *testing.T) {
	all := []error{talk.ErrNotFound, talk.ErrChecksum, talk.ErrGuesses, talk.ErrNoSIP, talk.ErrUnavailable}
	for name, c := range map[string]struct {
		change func(r *rig)
		want   error
	}{
		"nothing there": {func(*rig) {}, talk.ErrNotFound},
		"401":           {func(r *rig) { r.lab.Cloud.Change(func(c *talktest.Cloud) { c.DialinStatus = 401 }) }, talk.ErrChecksum},
		"429":           {func(r *rig) { r.lab.Cloud.Change(func(c *talktest.Cloud) { c.DialinStatus = 429 }) }, talk.ErrGuesses},
		"501":           {func(r *rig) { r.lab.Cloud.Change(func(c *talktest.Cloud) { c.DialinStatus = 501 }) }, talk.ErrNoSIP},
		"500":           {func(r *rig) { r.lab.Cloud.Change(func(c *talktest.Cloud) { c.DialinStatus = 500 }) }, talk.ErrUnavailable},
		"503":           {func(r *rig) { r.lab.Cloud.Change(func(c *talktest.Cloud) { c.Maintenance = true }) }, talk.ErrUnavailable},
		"302":           {func(r *rig) { r.lab.Cloud.Change(func(c *talktest.Cloud) { c.DialinStatus = 302 }) }, talk.ErrUnavailable},
		"away":          {func(r *rig) { r.lab.Cloud.Change(func(c *talktest.Cloud) { c.Away = true }) }, talk.ErrUnavailable},
		"not reached":   {func(r *rig) { r.lab.Refuse(true) }, talk.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			dialIn(t, func(r *rig, b *talk.Backend) {
				c.change(r)
				for op, err := range asked(b, r.t.Context()) {
					for _, kind := range all {
						if errors.Is(err, kind) != (kind == c.want) {
							t.Errorf("%s: %v is %v: %v", op, err, kind, errors.Is(err, kind))
						}
					}
					if !strings.HasPrefix(err.Error(), "nextcloud: ") {
						t.Errorf("%s: %v", op, err)
					}
					tellsNothing(t, err)
				}
			})
		})
	}
}

// tellsNothing wants that nothing of what was asked is in an error.
func tellsNothing(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{"9999999", "1234567", token, "1000000001", "49111222333", "49444555666", talktest.SIPSecret} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("told: %v", err)
		}
	}
}

// Nextcloud counts what is wrong against our address. Then nobody gets in.
func TestNextcloudRefusesUsAfterTooManyGuesses(t *testing.T) {
	dialIn(t, func(r *rig, b *talk.Backend) {
		for range 10 {
			if _, err := b.Room(r.t.Context(), "1000000001"); !errors.Is(err, talk.ErrNotFound) {
				t.Fatal(err)
			}
		}
		if _, err := b.VerifyDialin(r.t.Context(), token, "1234567"); !errors.Is(err, talk.ErrGuesses) {
			t.Error(err)
		}
		sleep(31 * time.Minute)
		if _, err := b.VerifyDialin(r.t.Context(), token, "1234567"); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatNoPhoneCanNameIsNotAsked(t *testing.T) {
	dialIn(t, func(r *rig, b *talk.Backend) {
		before := len(r.lab.Cloud.Requests())
		for _, bad := range []string{"", "abc", "12/34", "../x", "1?x", strings.Repeat("1", 33), "１２"} {
			if _, err := b.Room(r.t.Context(), bad); !errors.Is(err, talk.ErrNotFound) {
				t.Errorf("room %q: %v", bad, err)
			}
			if _, err := b.VerifyDialin(r.t.Context(), token, bad); !errors.Is(err, talk.ErrNotFound) {
				t.Errorf("PIN %q: %v", bad, err)
			}
			if _, err := b.OpenDialin(r.t.Context(), bad); !errors.Is(err, talk.ErrNotFound) {
				t.Errorf("open %q: %v", bad, err)
			}
		}
		if n := len(r.lab.Cloud.Requests()) - before; n != 0 {
			t.Errorf("%d were asked", n)
		}
	})
}

// A Nextcloud may be anybody.
func TestAnswersOfDialInAreBounded(t *testing.T) {
	big := strings.Repeat("x", 70<<10)
	room := func(more string) string { return `{"ocs":{"data":{"token":"` + token + `",` + more + `}}}` }
	for name, c := range map[string]struct{ answer, want string }{
		"no JSON":          {"<html>1234567</html>", "not OCS JSON"},
		"no object":        {`{"ocs":{"data":[]}}`, "not OCS JSON"},
		"nothing":          {"", "not OCS JSON"},
		"wrong types":      {room(`"attendeeId":"x","actorType":"users","actorId":"alice"`), "not OCS JSON"},
		"too long":         {room(`"actorType":"users","actorId":"` + big + `"`), "longer than"},
		"a long id":        {room(`"actorType":"users","actorId":"` + big[:600] + `"`), "names no participant"},
		"nobody":           {room(`"actorType":"","actorId":""`), "names no participant"},
		"another room":     {`{"ocs":{"data":{"token":"7","actorType":"users","actorId":"alice"}}}`, "another conversation"},
		"a token for URLs": {`{"ocs":{"data":{"token":"../x","actorType":"users","actorId":"alice"}}}`, "another conversation"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(c.answer)) }))
			defer server.Close()
			client, err := talk.New(talk.Config{Servers: []talk.Server{{URL: talktest.URL, Secret: "s",
				Backends: []talk.BackendConfig{{URL: server.URL, SIPSecret: talktest.SIPSecret}}}}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Sessions()[0].Backend().VerifyDialin(t.Context(), token, "1234567")
			if !errors.Is(err, talk.ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			tellsNothing(t, err)
		})
	}
}

func TestASlowNextcloudIsNotWaitedForByCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := talktest.New(t)
		client, err := talk.New(config(lab), nil)
		if err != nil {
			t.Fatal(err)
		}
		lab.Stall(true)
		began := time.Now()
		_, err = client.Sessions()[0].Backend().Room(t.Context(), token)
		if d := time.Since(began); d != talk.VerifyTime || !errors.Is(err, talk.ErrUnavailable) {
			t.Errorf("%v after %v", err, d)
		}
		tellsNothing(t, err)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("the caller has hung up")
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err = client.Sessions()[0].Backend().VerifyDialin(ctx, token, "1234567"); !errors.Is(err, gone) {
			t.Error(err)
		}
		lab.Close()
	})
}

func TestCapabilitiesAreAskedOnceAMinute(t *testing.T) {
	dialIn(t, func(r *rig, b *talk.Backend) {
		want := talk.Capabilities{Talk: "21.1.0", SIP: true, DirectDialin: true}
		for range 3 {
			if got, err := b.Capabilities(r.t.Context()); err != nil || got != want {
				t.Errorf("%+v, %v", got, err)
			}
		}
		r.lab.Cloud.Change(func(c *talktest.Cloud) { c.Encrypted, c.OldPIN = true, true })
		if is, err := b.Encrypted(r.t.Context()); err != nil || is {
			t.Error(is, err)
		}
		sleep(time.Minute)
		if is, err := b.Encrypted(r.t.Context()); err != nil || !is {
			t.Error(is, err)
		}
		if n := strings.Count(strings.Join(r.lab.Cloud.Requests(), "\n"), "capabilities"); n != 2 {
			t.Errorf("asked %d times", n)
		}
		sleep(time.Minute)
		r.lab.Cloud.Change(func(c *talktest.Cloud) { c.Away = true })
		if _, err := b.Encrypted(r.t.Context()); !errors.Is(err, talk.ErrUnavailable) {
			t.Error(err)
		}
	})
}

// A phone gets into the call if Nextcloud lets its participant in.
func TestNextcloudLetsCallersIn(t *testing.T) {
	dialIn(t, func(r *rig, b *talk.Backend) {
		r.lab.Cloud.Set(token, func(c *talktest.Conversation) { c.SIP, c.MembersStart = 2, true })
		guest, err := b.OpenDialin(r.t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		r.session.Join(token)
		synctest.Wait()
		r.forget()
		add := func(id, actorType, actorID string) {
			if err := r.session.AddSession(talk.Phone{CallID: id, RoomID: token, DisplayName: "Phone",
				Options: talk.Options{ActorType: actorType, ActorID: actorID}}); err != nil {
				t.Error(err)
			}
		}
		add("c1", guest.ActorType, guest.ActorID)
		r.was("add failed c1: signaling server: add_failed: The user is not invited to this room.")
		r.lab.Cloud.Join(token, "alice") // begins the call
		add("c2", guest.ActorType, guest.ActorID)
		add("c3", "guests", "made-up")
		r.was("add failed c3: signaling server: add_failed: The user is not invited to this room.")
		if p := r.lab.Cloud.Phones(token); len(p) != 1 || p[0] != "c2" {
			t.Errorf("phones %q", p)
		}
	})
}
