package phone

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// names are those of a list of users, as a response has it.
func names(t *testing.T, text string) string {
	t.Helper()
	var all []string
	for _, u := range decoded[[]appHeader](t, text) {
		all = append(all, u.Username)
	}
	return strings.Join(all, " ")
}

func TestUsersAreFoundByPartsOfTheirNames(t *testing.T) {
	at(t, func(h *house) {
		for _, u := range []User{{Username: "jörg", DisplayName: "JÖRG Ärger"}, {Username: "half", DisplayName: "50% _off/now"}} {
			if _, err := h.cfg.Store.Add(h.t.Context(), u, "a password"); err != nil {
				t.Fatal(err)
			}
		}
		for search, want := range map[string]string{
			"sam": "sam", "SAM": "sam", "iam>": "sam", "(@sa": "sam", "@k": "kim", "Ärg": "jörg", "ÄRG": "jörg", "@JÖ": "jörg",
			"50%25": "half", "%25%20_": "half", "_o": "half", "%25%25": "", "__": "", "off%2Fnow": "half", "off/n": "half", "%20%20im%20": "kim",
			"zz": "", "@a": "", "'--": "", "i%00": "",
		} {
			res, text := h.ask("eve", "GET", "/api/v3/users/match/allnames/"+search, "")
			if res.StatusCode != 200 {
				t.Errorf("%s: %d %s", search, res.StatusCode, text)
			} else if got := names(t, text); got != want {
				t.Errorf("%s: %q, want %q", search, got, want)
			}
		}
		for _, harvest := range []string{"@", "(@", "%20@%20"} {
			text := strings.Trim(harvest, "%20")
			h.wants("eve", "GET", "/api/v3/users/match/allnames/"+harvest, "", 403, "'"+text+"' is not a permitted search string")
		}
		for _, short := range []string{"a", "%20", "a%20", "%C3%A4", "x/"} {
			h.wants("eve", "GET", "/api/v3/users/match/allnames/"+short, "", 400, errSearchShort.reason)
		}
		h.wants("eve", "GET", "/api/v3/users/match/allnames/", "", 404, "Not Found")
		h.wants("eve", "GET", "/api/v3/users/match/allnames/sam?favorers=maybe", "", 400, errFavorers.reason)
		for query, want := range map[string]string{"?favorers=true": "sam", "?favorers=false": "sam", "": "sam"} {
			if _, text := h.ask("eve", "GET", "/api/v3/users/match/allnames/sam"+query, ""); names(t, text) != want {
				t.Errorf("%s: %s", query, text)
			}
		}
		if _, text := h.ask("sam", "GET", "/api/v3/users/match/allnames/eve?favorers=true", ""); text != "[]" {
			t.Errorf("eve has not made sam a favourite: %s", text)
		}

		for i := range 12 {
			u := User{Username: fmt.Sprintf("many%02d", 11-i)}
			if _, err := h.cfg.Store.Add(h.t.Context(), u, "a password"); err != nil {
				t.Fatal(err)
			}
		}
		_, text := h.ask("eve", "GET", "/api/v3/users/match/allnames/many", "")
		if want := "many00 many01 many02 many03 many04 many05 many06 many07 many08 many09"; names(t, text) != want {
			t.Errorf("%s", text)
		}
	})
}

func TestWhoIsBlockedIsNotFound(t *testing.T) {
	at(t, func(h *house) {
		mod, err := h.cfg.Store.Add(h.t.Context(), User{Username: "mod", Level: "moderator"}, "a password")
		if err != nil {
			t.Fatal(err)
		}
		gone, err := h.cfg.Store.Add(h.t.Context(), User{Username: "gone", Level: "banned"}, "a password")
		if err != nil {
			t.Fatal(err)
		}
		_, h.tokens["mod"], _ = h.cfg.Store.LogIn(h.t.Context(), "mod", "a password")
		users := func(who, rest string) string { return "/api/v3/users/" + h.id(who) + rest }
		none := func(who string) string { return "no user found for identifier '" + who + "'" }

		h.wants("eve", "POST", users("sam", "/block"), "", 201, "")
		h.wants("eve", "POST", strings.ToLower(users("sam", "/block")), "", 200, "")
		for _, p := range [][2]string{{"eve", "sam"}, {"sam", "eve"}} { // it holds both ways
			h.wants(p[0], "GET", users(p[1], ""), "", 404, none(h.id(p[1])))
			h.wants(p[0], "GET", strings.ToLower(users(p[1], "/header")), "", 404, none(h.id(p[1])))
			h.wants(p[0], "GET", users(p[1], "/profile"), "", 404, "profile is not available")
			h.wants(p[0], "GET", "/api/v3/users/find/"+p[1], "", 404, none(p[1]))
			if _, text := h.ask(p[0], "GET", "/api/v3/users/match/allnames/"+p[1], ""); text != "[]" {
				t.Errorf("%s finds %s", p[0], text)
			}
		}
		if _, text := h.ask("eve", "GET", "/api/v3/users/blocks", ""); names(t, text) != "sam" {
			t.Errorf("%s", text)
		}
		if _, text := h.ask("sam", "GET", "/api/v3/users/blocks", ""); text != "[]" {
			t.Errorf("sam sees who has blocked him: %s", text)
		}
		h.notified("eve")
		h.relate(Favorite, "eve", "sam")
		_, res, text := h.dial("sam", initiatePath(callA, h.id("eve")))
		h.compare("a call", res, text, 400, "Cannot call this user.")
		h.wants("eve", "POST", users("sam", "/unblock"), "", 204, "")
		h.wants("eve", "POST", users("sam", "/unblock"), "", 204, "")
		if _, text := h.ask("eve", "GET", users("sam", "/header"), ""); !strings.Contains(text, `"username":"sam"`) {
			t.Errorf("%s", text)
		}

		h.wants("eve", "POST", users("sam", "/mute"), "", 201, "")
		h.wants("eve", "POST", users("sam", "/mute"), "", 201, "")
		_, res, text = h.dial("sam", initiatePath(callA, h.id("eve")))
		h.compare("a call", res, text, 400, "Cannot call this user.")
		h.wants("eve", "POST", users("sam", "/unmute"), "", 204, "")
		h.open("sam", initiatePath(callA, h.id("eve")))

		nobody := "/api/v3/users/" + callA
		h.wants("eve", "POST", nobody+"/block", "", 400, errBlockNobody.reason)
		h.wants("eve", "POST", "/api/v3/users/x/block", "", 400, errUserIDOther.reason)
		h.wants("eve", "POST", users("eve", "/block"), "", 400, errSelfBlock.reason)
		h.wants("eve", "POST", "/api/v3/users/"+mod.ID.String()+"/block", "", 400, errBlockLevel.reason)
		h.wants("eve", "POST", users("eve", "/mute"), "", 400, errSelfMute.reason)
		for _, what := range []string{"/unblock", "/mute", "/unmute"} {
			h.wants("eve", "POST", nobody+what, "", 404, none(callA))
			h.wants("eve", "POST", "/api/v3/users/x"+what, "", 400, errNoUserID.reason)
		}
		for _, what := range []string{"", "/header", "/profile"} {
			h.wants("eve", "GET", "/api/v3/users/x"+what, "", 400, errUserIDMissing.reason)
		}
		h.wants("eve", "GET", nobody, "", 404, none(callA))
		h.wants("eve", "GET", nobody+"/profile", "", 404, "profile is not available")
		h.wants("eve", "GET", "/api/v3/users/find/"+strings.Repeat("x", 99), "", 404, none(strings.Repeat("x", 60)+"…"))
		h.wants("eve", "GET", "/api/v3/users/"+gone.ID.String()+"/profile", "", 404, "profile is not available")
		if res, text := h.ask("mod", "GET", "/api/v3/users/"+gone.ID.String()+"/profile", ""); res.StatusCode != 200 {
			t.Errorf("a moderator: %d %s", res.StatusCode, text)
		}
		if _, text := h.ask("sam", "GET", users("kim", "/profile"), ""); !decoded[appProfile](t, text).Favorite {
			t.Errorf("%s", text)
		}
		if _, text := h.ask("eve", "GET", users("kim", "/profile"), ""); decoded[appProfile](t, text).Favorite {
			t.Errorf("%s", text)
		}
	})
}

func TestRequestsWithoutATokenAreBounded(t *testing.T) {
	at(t, func(h *house) {
		ok := 0
		for range 60 {
			if res, text := h.ask("", "GET", "/api/v3/client/settings", ""); res.StatusCode == 200 {
				ok++
			} else {
				h.compare("too many", res, text, 429, "Too many requests.")
			}
		}
		if ok < 40 || ok > 45 { // a request takes a little while
			t.Errorf("%d were let in", ok)
		}
		if res, _ := h.ask("sam", "GET", "/api/v3/notification/global", ""); res.StatusCode != 200 {
			t.Errorf("a user has to wait for strangers: %d", res.StatusCode)
		}
		time.Sleep(time.Second)
		if res, _ := h.ask("Bearer old", "GET", "/api/v3/notification/global", ""); res.StatusCode != 200 {
			t.Errorf("%d", res.StatusCode)
		}
	}, func(c *Config) { c.RequestRate = 2 })
}

func TestUsersOfAnOlderDatabaseAreFound(t *testing.T) {
	s := tempStore(t)
	u, err := s.Add(t.Context(), User{Username: "Jörg", DisplayName: "JÖRG"}, "a password")
	if err != nil {
		t.Fatal(err)
	}
	for _, was := range []string{`ALTER TABLE users DROP COLUMN search`, `DROP TABLE installation`, `PRAGMA user_version = 2`} {
		if _, err := s.db.ExecContext(t.Context(), was); err != nil {
			t.Fatal(err)
		}
	}
	var file string
	if err := s.db.QueryRowContext(t.Context(), `SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&file); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, file)
	defer s.Close()
	if found, err := s.match(t.Context(), NewID(), "jö", false, maxFound); err != nil || len(found) != 1 || found[0].ID != u.ID {
		t.Errorf("%v, %v", found, err)
	}
	u.DisplayName = "ÄNNE"
	if err := s.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if found, err := s.match(t.Context(), NewID(), "änne (@jörg)", false, maxFound); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	if id, err := s.installation(t.Context()); err != nil || len(id) != 16 {
		t.Errorf("%q, %v", id, err)
	}
}
