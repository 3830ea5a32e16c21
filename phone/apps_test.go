package phone

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The apps' own sequences, with the fields that each sends. What they are
// answered is decoded as strictly as they do: Swift's decoder wants each member
// that is not optional, and of its type.

// A date and a uuid are text that must be one.
type (
	swiftDate string
	swiftUUID string
)

var (
	isDate = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	isUUID = regexp.MustCompile(`^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$`)
)

// decoded reads text as a T.
func decoded[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var raw any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	strictly(t, reflect.TypeFor[T](), raw, "")
	return v
}

// strictly wants each member of a struct, but those that may be missing
// (omitempty), dates and UUIDs in their form, and no null.
func strictly(t *testing.T, typ reflect.Type, raw any, where string) {
	t.Helper()
	if raw == nil {
		t.Errorf("%s is null", where)
		return
	}
	text, _ := raw.(string)
	switch {
	case typ == reflect.TypeFor[swiftDate]() && !isDate.MatchString(text), typ == reflect.TypeFor[swiftUUID]() && !isUUID.MatchString(text):
		t.Errorf("%s is %q", where, text)
	case typ.Kind() == reflect.Slice:
		for _, item := range raw.([]any) {
			strictly(t, typ.Elem(), item, where+"[]")
		}
	case typ.Kind() == reflect.Struct:
		members := raw.(map[string]any)
		for i := range typ.NumField() {
			name, optional := strings.CutSuffix(typ.Field(i).Tag.Get("json"), ",omitempty")
			if value, ok := members[name]; ok {
				strictly(t, typ.Field(i).Type, value, where+"."+name)
			} else if !optional {
				t.Errorf("%s.%s is missing", where, name)
			}
		}
	}
}

type appHeader struct {
	ID          swiftUUID `json:"userID"`
	Username    string    `json:"username"`
	DisplayName string    `json:"displayName,omitempty"`
	Image       string    `json:"userImage,omitempty"`
	Pronoun     string    `json:"preferredPronoun,omitempty"`
}

type appProfile struct {
	Header   appHeader `json:"header"`
	About    string    `json:"about"`
	Message  string    `json:"message"`
	Email    string    `json:"email"`
	Home     string    `json:"homeLocation"`
	Pronoun  string    `json:"preferredPronoun"` // The Kraken wants it, Swiftarr has left it out since
	RealName string    `json:"realName"`
	Room     string    `json:"roomNumber"`
	Note     string    `json:"note,omitempty"`
	Favorite bool      `json:"isFavorite"`
}

type appNews struct {
	Time   string `json:"serverTime"`
	Offset int    `json:"serverTimeOffset"`
	ZoneID string `json:"serverTimeZoneID"`
	Zone   string `json:"serverTimeZone"`
	Off    []struct {
		App     string `json:"appName"`
		Feature string `json:"featureName"`
	} `json:"disabledFeatures"`
	WiFi          string `json:"shipWifiSSID,omitempty"`
	Announcements []int  `json:"activeAnnouncementIDs"`
	NewAnnounced  int    `json:"newAnnouncementCount"`
	Twarrts       int    `json:"twarrtMentionCount"`
	NewTwarrts    int    `json:"newTwarrtMentionCount"`
	Forum         int    `json:"forumMentionCount"`
	NewForum      int    `json:"newForumMentionCount"`
	Seamail       int    `json:"newSeamailMessageCount"`
	Fez           int    `json:"newFezMessageCount"`
	AddedSeamail  int    `json:"addedToSeamailCount"`
	AddedLFG      int    `json:"addedToLFGCount"`
	AddedEvent    int    `json:"addedToPrivateEventCount"`
	Event         int    `json:"newPrivateEventMessageCount"`
	Songs         int    `json:"microKaraokeFinishedSongCount"`
	Words         []struct {
		Word string `json:"alertword"`
	} `json:"alertWords"`
}

// off reports whether an app hides a feature.
func (n *appNews) off(app, feature string) bool {
	for _, f := range n.Off {
		if (f.App == app || f.App == "all") && f.Feature == feature {
			return true
		}
	}
	return false
}

type appLogin struct {
	ID    swiftUUID `json:"userID"`
	Level string    `json:"accessLevel"`
	Token string    `json:"token"`
}

// An app asks with fields of its own. It logs its user out on 401.
type app struct {
	*house
	fields []string
	token  string
}

func (a *app) get(path string) string { return a.send("GET", path, http.StatusOK) }

func (a *app) send(method, path string, status int) string {
	a.t.Helper()
	who := ""
	if a.token != "" {
		who = "Bearer " + a.token
	}
	res, text := a.ask(who, method, "/api/v3/"+path, "", a.fields...)
	if res.StatusCode != status {
		a.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
	}
	return text
}

func (a *app) logIn(name string) appLogin {
	a.t.Helper()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+passwordOf(name)))
	res, text := a.ask(basic, "POST", "/api/v3/auth/login", "", a.fields...)
	if res.StatusCode != http.StatusOK {
		a.t.Fatalf("%d %s", res.StatusCode, text)
	}
	login := decoded[appLogin](a.t, text)
	if !slices.Contains(Levels, login.Level) {
		a.t.Errorf("%+v", login)
	}
	a.token = login.Token
	return login
}

// socket opens a WebSocket with the app's fields.
func (a *app) socket(path string) *client {
	a.t.Helper()
	c, res, text := a.dial("Bearer "+a.token, "/api/v3/"+path, a.fields...)
	if c == nil {
		a.t.Fatalf("%s: %d %s", path, res.StatusCode, text)
	}
	go c.read()
	return c
}

func TestTheKrakenSetsItselfUpAndCalls(t *testing.T) {
	at(t, func(h *house) {
		kraken := &app{house: h, fields: []string{"X-Swiftarr-Client", "Kraken 1.5.2", "Accept", "*/*",
			"User-Agent", "Kraken/1 CFNetwork/1490.0.4"}}
		news := func() appNews {
			n := decoded[appNews](t, kraken.get("notification/global"))
			if now, err := time.Parse("2006-01-02T15:04:05Z", n.Time); err != nil || time.Since(now).Abs() > 2*time.Second {
				t.Errorf("the server's time is %q: %v", n.Time, err)
			}
			return n
		}
		n := news() // before its user logs in
		if !n.off("kraken", "directphone") || n.off("kraken", "phone") {
			t.Error("it does not call through the service")
		}
		for _, feature := range []string{"forums", "seamail", "schedule", "friendlyfez", "karaoke", "gameslist", "users"} {
			if !n.off("kraken", feature) {
				t.Errorf("it shows %s, which are not here", feature)
			}
		}
		login := kraken.logIn("eve")
		if string(login.ID) != h.id("eve") {
			t.Errorf("%+v", login)
		}
		if p := decoded[appProfile](t, kraken.get("user/profile")); p.Header.Username != "eve" {
			t.Errorf("%+v", p)
		}
		for _, list := range []string{"favorites", "mutes", "blocks"} {
			if users := decoded[[]appHeader](t, kraken.get("users/"+list)); len(users) != 0 {
				t.Errorf("%s: %v", list, users)
			}
		}
		news()
		device := kraken.socket("notification/socket")

		// Its user looks for sam, and calls him.
		found := decoded[[]appHeader](t, kraken.get("users/match/allnames/"+url.PathEscape("sam <I")))
		if len(found) != 1 || found[0].Username != "sam" || found[0].DisplayName != "Sam <Iam>" {
			t.Fatalf("%+v", found)
		}
		if byName := decoded[appHeader](t, kraken.get("users/find/SAM")); byName != found[0] {
			t.Errorf("%+v", byName)
		}
		if p := decoded[appProfile](t, kraken.get("users/"+string(found[0].ID)+"/profile")); p.Header != found[0] || p.Pronoun != "they" {
			t.Errorf("%+v", p)
		}
		kraken.send("POST", "users/"+string(found[0].ID)+"/favorite", http.StatusCreated)
		sam := h.notified("sam")
		phone := kraken.socket("phone/socket/initiate/" + callA + "/to/" + string(found[0].ID))
		if got := sam.heard(); len(got) != 1 || !strings.Contains(got[0], `"incomingPhoneCall"`) {
			t.Fatalf("sam hears %q", got)
		}
		other := h.open("sam", answerPath(callA))
		var start struct {
			Time swiftDate `json:"phonecallStartTime"`
		}
		for _, c := range []*client{phone, other} {
			got := c.heard()
			if len(got) != 1 {
				t.Fatalf("%q", got)
			}
			start = decoded[struct {
				Time swiftDate `json:"phonecallStartTime"`
			}](t, got[0])
		}
		if start.Time == "" {
			t.Error("the call has no beginning")
		}
		_ = phone.CloseNow()
		settle()
		kraken.send("POST", "phone/decline/"+callA, http.StatusOK) // it does, after the end
		device.stays("its notifications")

		kraken.send("POST", "auth/logout", http.StatusNoContent)
		news() // still with the old token, and it must not be told 401
	})
}

func TestTricordarrSetsItselfUp(t *testing.T) {
	at(t, func(h *house) {
		fields := []string{"Accept", "application/json", "X-Swiftarr-Client", "Tricordarr 1.9.0", "Cache-Control", "no-store"}
		tricordarr := &app{house: h, fields: fields}
		health := decoded[struct {
			Status int    `json:"status"`
			Reason string `json:"reason"`
			Error  bool   `json:"error"`
		}](t, tricordarr.get("client/health"))
		if health.Status != 200 || health.Reason != "OK" || health.Error {
			t.Errorf("%+v", health)
		}
		s := decoded[struct {
			Hosts        []string  `json:"canonicalHostnames"`
			Start        swiftDate `json:"cruiseStartDate"`
			Days         int       `json:"cruiseLengthInDays"`
			ZoneID       string    `json:"portTimeZoneID"`
			Zone         string    `json:"portTimeZoneAbbrev"`
			Offset       int       `json:"portTimeZoneOffset"`
			Schedule     string    `json:"scheduleUpdateURL"`
			WiFi         string    `json:"shipWifiSSID,omitempty"`
			Registration bool      `json:"enablePreregistration"`
			MinLevel     string    `json:"minAccessLevel"`
			PostImages   int       `json:"maxForumPostImages"`
			ImageSize    int       `json:"maxImageSize"`
			Installation string    `json:"installationID"`
		}](t, tricordarr.get("client/settings"))
		if zone, err := time.LoadLocation(s.ZoneID); err != nil || s.Installation == "" {
			t.Errorf("%+v: %v", s, err)
		} else if _, offset := time.Now().In(zone).Zone(); offset != s.Offset {
			t.Errorf("%s is %d s east, not %d", s.ZoneID, offset, s.Offset)
		}
		if s.MinLevel != "banned" || !slices.Equal(s.Hosts, []string{"10.0.0.1"}) {
			t.Errorf("%+v", s) // any other level keeps its user from logging in
		}
		if again := tricordarr.get("client/settings"); !strings.Contains(again, s.Installation) {
			t.Errorf("another installation: %s", again)
		}

		login := tricordarr.logIn("sam")
		tricordarr.fields = append(fields, "X-Swiftarr-User", string(login.ID))
		me := decoded[struct {
			ID       swiftUUID `json:"userID"`
			Username string    `json:"username"`
			LoggedIn bool      `json:"isLoggedIn"`
			Level    string    `json:"accessLevel"`
			Roles    []string  `json:"roles"`
		}](t, tricordarr.get("user/whoami"))
		if me.ID != login.ID || me.Username != "sam" || !me.LoggedIn || me.Level != "verified" {
			t.Errorf("%+v", me)
		}
		if p := decoded[appProfile](t, tricordarr.get("user/profile")); p.Header.Image != "sam.png" || p.Pronoun != "they" {
			t.Errorf("%+v", p)
		}
		n := decoded[appNews](t, tricordarr.get("notification/global"))
		if n.off("tricordarr", "phone") || n.off("tricordarr", "users") || !n.off("tricordarr", "forums") {
			t.Errorf("%+v", n.Off)
		}
		h.SetCalls(false)
		if n := decoded[appNews](t, tricordarr.get("notification/global")); !n.off("tricordarr", "phone") {
			t.Error("it does not see that calls are switched off")
		}
		h.SetCalls(true)
		if n := decoded[appNews](t, tricordarr.get("notification/global")); n.off("tricordarr", "phone") {
			t.Error("they stay switched off")
		}
		tricordarr.socket("notification/socket").stays("its notifications")
		if got := decoded[[]appHeader](t, tricordarr.get("users/favorites")); len(got) != 3 {
			t.Errorf("%+v", got)
		}
		if got := decoded[[]appHeader](t, tricordarr.get("users/match/allnames/ki?favorers=true")); len(got) != 1 || got[0].Username != "kim" {
			t.Errorf("%+v", got)
		}
		for _, relation := range []string{"mute", "block"} {
			tricordarr.send("POST", "users/"+h.id("eve")+"/"+relation, http.StatusCreated)
			if got := decoded[[]appHeader](t, tricordarr.get("users/"+relation+"s")); len(got) != 1 || got[0].Username != "eve" {
				t.Errorf("%+v", got)
			}
			tricordarr.send("POST", "users/"+h.id("eve")+"/un"+relation, http.StatusNoContent)
			if got := tricordarr.get("users/" + relation + "s"); got != "[]" {
				t.Error(got)
			}
		}
	})
}

func TestNewsTellTheMachinesTimeZone(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, zone := range map[string]*time.Location{"UTC": time.UTC, "Europe/Berlin": time.FixedZone("Europe/Berlin", 3600)} {
		if got := zoneID(now.In(zone)); got != want {
			t.Errorf("%s: %s", want, got)
		}
	}
	known := machineZone
	defer func() { machineZone = known }()
	machineZone = func() string { return "" }
	for want, offset := range map[string]int{"Etc/GMT+5": -5 * 3600, "Etc/GMT-2": 7200, "UTC": 0} {
		if got := zoneID(now.In(time.FixedZone("Local", offset))); got != want {
			t.Errorf("%d: %s, want %s", offset, got, want)
		} else if zone, err := time.LoadLocation(got); err != nil {
			t.Error(err)
		} else if _, is := now.In(zone).Zone(); is != offset {
			t.Errorf("%s is %d s east, want %d", got, is, offset)
		}
	}
	if got := zoneID(now.In(time.FixedZone("Local", 19800))); got != "UTC" {
		t.Errorf("half an hour: %s", got)
	}
}

func TestAnAppIsToldThatTheDatabaseFails(t *testing.T) {
	store := tempStore(t)
	s, err := New(Config{Store: store, Address: func(*http.Request) netip.Addr { return netip.Addr{} }}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/api/v3/"+path, nil))
		return w
	}
	if w := ask("client/health"); w.Code != 200 || w.Body.String() != `{"status":200,"reason":"OK","error":false}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"client/health", "client/settings"} {
		if w := ask(path); w.Code != 500 || w.Body.String() != `{"error":true,"status":500,"reason":"Internal Server Error"}` {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := ask("notification/global"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
