package phone

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const nobodyID = "00000000-0000-4000-8000-000000000000"

// The checks of starting a call, in their order, on both paths.
func TestWhomOneMayCall(t *testing.T) {
	at(t, func(h *house) {
		h.notified("kim")
		const body = `{"ipV4Addr":"192.0.2.1"}`
		post := func(who, call, user, body string, status int, reason string) {
			t.Helper()
			h.wants(who, "POST", "/api/v3/phone/initiate/"+call+"/to/"+user, body, status, reason)
		}
		dial := func(who, call, user string, status int, reason string) {
			t.Helper()
			_, res, text := h.dial(who, initiatePath(call, user))
			h.compare(who+" calls "+user, res, text, status, reason)
		}
		for _, bad := range []string{"x", callA[1:], callA + "0", strings.ReplaceAll(callA, "-", "x"), "G" + callA[1:], "%7B" + callA + "%7D"} {
			post("sam", bad, h.id("kim"), body, 400, "Request parameter missing.")
			post("sam", callA, bad, body, 400, "Request parameter missing.")
			dial("sam", callA, bad, 400, "Request parameter user_ID is missing.")
			dial("sam", bad, bad, 400, "Request parameter user_ID is missing.")
			dial("sam", bad, h.id("kim"), 400, "Request parameter call_ID is missing.")
			_, res, text := h.dial("sam", answerPath(bad))
			h.compare("answer", res, text, 400, "Request parameter call_ID is missing.")
			h.wants("sam", "POST", "/api/v3/phone/answer/"+bad, "", 400, "Request parameter call_ID is missing.")
			h.wants("sam", "POST", "/api/v3/phone/decline/"+bad, "", 400, "Request parameter call_ID is missing.")
		}
		both := func(who, user string, reason string) {
			t.Helper()
			post(who, callA, user, body, 400, reason)
			post(who, callA, user, "", 400, reason) // before the body
			dial(who, callA, user, 400, reason)
		}
		both("sam", nobodyID, "Couldn't find user to call.")
		both("sam", h.id("sam"), "Cannot call this user.")
		both("kim", h.id("eve"), "Cannot call a user who has not made you a favorite user.") // though kim favours eve
		h.relate(Favorite, "eve", "kim")
		post("kim", callA, h.id("eve"), body, 400, "User unavailable.")
		post("kim", callA, h.id("eve"), "", 400, "User unavailable.")
		dial("kim", callA, h.id("eve"), 404, "User unavailable.")
		for _, r := range []struct {
			kind        Relation
			user, other string
		}{{Mute, "kim", "sam"}, {Block, "kim", "sam"}, {Block, "sam", "kim"}} {
			h.relate(r.kind, r.user, r.other)
			both("sam", h.id("kim"), "Cannot call this user.")
			if err := h.cfg.Store.Unrelate(h.t.Context(), r.kind, h.users[r.user].ID, h.users[r.other].ID); err != nil {
				t.Fatal(err)
			}
		}
		h.relate(Mute, "sam", "kim") // whom he mutes he may call
		post("sam", callA, h.id("kim"), "", 422, "Unprocessable Entity")
		post("sam", callA, h.id("kim"), `{}`, 400, "Cannot call this user.")
		post("sam", callA, h.id("kim"), `{"ipV4Addr":"","ipV6Addr":""}`, 400, "Cannot call this user.")
		post("sam", callA, h.id("kim"), `null`, 400, "Cannot call this user.")
		for _, bad := range []string{"x", "[]", `{"ipV4Addr":1}`, `{"ipV4Addr":"2001:db8::1"}`, `{"ipV6Addr":"192.0.2.1"}`,
			`{"ipV4Addr":"a.example"}`,
			`{"ipV4Addr":"192.0.2.1"}{}`, `{"ipV6Addr":"fe80::1%` + strings.Repeat("x", 100) + `"}`} {
			post("sam", callA, h.id("kim"), bad, 400, errBody.reason)
		}
		post("sam", callA, h.id("kim"), strings.Repeat(" ", maxBody+1), 413, "Payload Too Large")
		_, res, text := h.dial("kim", answerPath(callA))
		h.compare("answer", res, text, 404, "Couldn't find phone call.")
		c := h.open("sam", strings.ToLower(initiatePath(callA, h.id("kim"))))
		for _, who := range []string{"sam", "eve"} { // neither is the callee
			_, res, text := h.dial(who, answerPath(callA))
			h.compare("answer", res, text, 404, "Couldn't find phone call.")
		}
		c.stays("caller")
		h.wants("sam", "POST", "/api/v3/phone/decline/"+callB, "", 200, "")
		h.wants("sam", "POST", "/api/v3/phone/answer/"+callB, "", 200, "")
	})
}

func TestWhoIsLetIn(t *testing.T) {
	const bad = "User not authenticated."
	at(t, func(h *house) {
		initiate := "/api/v3/phone/initiate/" + callA + "/to/" + h.id("kim")
		sockets := []string{"/api/v3/notification/socket", initiatePath(callA, h.id("kim")), answerPath(callA)}
		posts := []string{initiate, "/api/v3/phone/answer/" + callA, "/api/v3/phone/decline/" + callA}
		for _, who := range []string{"", "Bearer", "Bearer ", "Bearer x", "Basic " + h.tokens["sam"], "Bearer " + h.tokens["sam"][1:],
			h.tokens["sam"]} {
			for _, path := range posts {
				h.wants(who, "POST", path, "", 401, bad)
			}
			h.wants(who, "GET", "/api/v3/users/favorites", "", 401, bad)
			for _, path := range sockets {
				_, res, text := h.dial(who, path)
				h.compare(path, res, text, 401, bad)
				h.wants(who, "GET", path, "", 401, bad)
				if res.Header.Get("WWW-Authenticate") != "Bearer" {
					t.Errorf("%s: %v", path, res.Header)
				}
			}
		}
		// A low access level comes before the switch, and both before all else.
		for _, off := range []bool{false, true} {
			h.SetCalls(!off)
			for _, path := range append(posts, "/api/v3/phone/answer/x") {
				h.wants("low", "POST", path, "", 403, "Forbidden")
				if off {
					h.wants("sam", "POST", path, "", 451, "Unavailable For Legal Reasons")
				}
			}
			for _, path := range sockets[1:] {
				_, res, text := h.dial("low", path)
				h.compare(path, res, text, 403, "Forbidden")
				if off {
					_, res, text := h.dial("sam", path)
					h.compare(path, res, text, 451, "Unavailable For Legal Reasons")
				}
			}
			h.notified("low") // a token is all that this needs
		}
		h.SetCalls(true)
		for _, path := range append(sockets, initiatePath("x", "y")) {
			res, text := h.ask("sam", "GET", path, "")
			h.compare(path, res, text, 426, "Upgrade Required")
			if res.Header.Get("Upgrade") != "websocket" || !strings.EqualFold(res.Header.Get("Connection"), "upgrade") {
				t.Errorf("%s: %v", path, res.Header)
			}
			r := httptest.NewRequest("GET", path, nil)
			r.ProtoMajor, r.ProtoMinor = 2, 0
			h.authorize(r.Header, "sam")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 426 || w.Header().Get("Connection") != "" || w.Header().Get("Upgrade") != "" {
				t.Errorf("%s over HTTP/2: %d %v, which has fields that end the stream", path, w.Code, w.Header())
			}
			for _, fields := range [][]string{
				{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "12", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="},
				{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAA"},
				{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13"},
			} {
				res, text := h.ask("sam", "GET", path, "", fields...)
				h.compare(path, res, text, 400, errHandshake.reason)
			}
		}
		for _, tt := range []struct{ method, path, allow string }{
			{"POST", sockets[0], "GET"}, {"DELETE", sockets[1], "GET"}, {"HEAD", sockets[2], ""},
			{"GET", initiate, "POST"}, {"PUT", posts[1], "POST"}, {"OPTIONS", posts[2], "POST"},
			{"GET", "/api/v3/auth/login", "POST"}, {"GET", "/api/v3/auth/logout", "POST"},
			{"POST", "/api/v3/users/favorites", "GET, HEAD"},
			{"GET", "/api/v3/users/" + callA + "/favorite", "DELETE, POST"}, {"GET", "/api/v3/users/" + callA + "/unfavorite", "POST"},
		} {
			res, text := h.ask("sam", tt.method, tt.path, "")
			if tt.method == "HEAD" {
				if res.StatusCode != 405 {
					t.Error(res.StatusCode)
				}
				continue
			}
			h.compare(tt.method+" "+tt.path, res, text, 405, "Method Not Allowed")
			if res.Header.Get("Allow") != tt.allow {
				t.Errorf("%s %s: Allow %q", tt.method, tt.path, res.Header.Get("Allow"))
			}
		}
		for _, path := range []string{"/", "/api/v3", "/api/v3/", "/api/v3/phone", "/api/v3/phone/initiate/" + callA, "/api/v3/phone//answer/x",
			posts[1] + "/x", "/API/v3/auth/login"} {
			h.wants("sam", "GET", path, "", 404, "Not Found")
		}
		h.wants("sam", "POST", posts[2]+"/", "", 200, "") // as their router reads it
	})
}

func TestPagesOfOtherSites(t *testing.T) {
	at(t, func(h *house) {
		origin := func(who, method, path, from string, status int, fields ...string) *http.Response {
			t.Helper()
			res, text := h.ask(who, method, path, "", append(fields, "Origin", from)...)
			if res.StatusCode != status {
				t.Errorf("%s %s from %s: %d %s", method, path, from, res.StatusCode, text)
			}
			return res
		}
		for _, evil := range []string{"https://evil.example", "null", "http://page.example", "https://page.example:8443",
			"https://page.example.evil.example"} {
			_, res, text := h.dial("sam", "/api/v3/notification/socket", "Origin", evil)
			h.compare(evil, res, text, 403, errOrigin.reason)
			res = origin("", "OPTIONS", "/api/v3/auth/login", evil, 403, "Access-Control-Request-Method", "POST")
			if res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%v", res.Header)
			}
			origin("sam", "POST", "/api/v3/auth/logout", evil, 403)
		}
		for _, good := range []string{"https://page.example", "http://" + houseAddr} {
			c, res, text := h.dial("sam", "/api/v3/notification/socket", "Origin", good)
			if c == nil {
				t.Fatalf("%s: %d %s", good, res.StatusCode, text)
			}
			go c.read()
			origin("sam", "GET", "/api/v3/users/favorites", good, 200)
		}
		res := origin("", "OPTIONS", "/api/v3/auth/login", "https://page.example", 204, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "authorization")
		if h := res.Header; h.Get("Access-Control-Allow-Origin") != "https://page.example" ||
			h.Get("Access-Control-Allow-Methods") != "GET, POST, DELETE" ||
			h.Get("Access-Control-Allow-Headers") != "Authorization, Content-Type" || h.Get("Vary") != "Origin" ||
			h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%v", h)
		}
		// A page's token comes as a subprotocol, and is not sent back.
		ws, _, err := websocket.Dial(h.t.Context(), "http://"+houseAddr+"/api/v3/notification/socket",
			&websocket.DialOptions{HTTPClient: h.client,
				HTTPHeader: http.Header{"Origin": {"https://page.example"}}, Subprotocols: []string{"phone", "bearer." + h.tokens["kim"]}})
		if err != nil {
			t.Fatal(err)
		}
		if ws.Subprotocol() != "phone" || h.Stats().Users != 2 {
			t.Errorf("%q, %+v", ws.Subprotocol(), h.Stats())
		}
		go (&client{Conn: ws, h: h}).read()
		_, _, err = websocket.Dial(h.t.Context(), "http://"+houseAddr+"/api/v3/notification/socket", &websocket.DialOptions{HTTPClient: h.client,
			Subprotocols: []string{"phone", "bearer.x"}})
		if err == nil {
			t.Error("a wrong token is let in")
		}
	}, func(c *Config) { c.Origins = []string{"https://page.example"} })
}

func TestLimitsOfSocketsAndCalls(t *testing.T) {
	at(t, func(h *house) {
		for range 3 {
			h.notified("kim")
		}
		_, res, text := h.dial("kim", "/api/v3/notification/socket")
		h.compare("a fourth", res, text, 429, "Too many sockets of this user.")
		h.notified("eve")
		h.relate(Favorite, "eve", "low")
		h.open("sam", initiatePath(callA, h.id("kim")))
		if err := h.cfg.Store.Update(h.t.Context(), User{ID: h.users["low"].ID, Username: "low", Level: "verified"}); err != nil {
			t.Fatal(err)
		}
		_, res, text = h.dial("low", initiatePath(callB, h.id("eve")))
		h.compare("a second call", res, text, 503, "Too many phone calls.")
		h.open("kim", answerPath(callA))
		_, res, text = h.dial("sam", "/api/v3/notification/socket")
		h.compare("a seventh socket", res, text, 503, "Too many sockets.")
	}, func(c *Config) { c.MaxUserSockets, c.MaxCalls, c.MaxSockets = 3, 1, 6 })
}

func TestRequestsOfAUserAreBounded(t *testing.T) {
	at(t, func(h *house) {
		ok := 0
		for range 20 {
			res, text := h.ask("sam", "GET", "/api/v3/users/favorites", "")
			if res.StatusCode == 200 {
				ok++
				continue
			}
			h.compare("too many", res, text, 429, "Too many requests.")
			if res.Header.Get("Retry-After") != "1" {
				t.Errorf("%v", res.Header)
			}
		}
		if ok != 4 {
			t.Errorf("%d were let in", ok)
		}
		h.wants("kim", "POST", "/api/v3/phone/decline/"+callA, "", 200, "")
		time.Sleep(time.Second)
		h.wants("sam", "POST", "/api/v3/phone/decline/"+callA, "", 200, "")
	}, func(c *Config) { c.RequestRate = 2 })
}
