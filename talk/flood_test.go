package talk

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// flooded is a session that is not connected, and what it logs.
func flooded(t *testing.T) (*Session, *strings.Builder) {
	t.Helper()
	log := &strings.Builder{}
	client, err := New(Config{Servers: []Server{{URL: "http://s.example", Secret: "s",
		Backends: []BackendConfig{{URL: "http://c.example", SIPSecret: "x"}}}},
		Handler: Handler{Dialout: func(r *Request) { t.Errorf("a request came through: room %q", r.RoomID) }}},
		slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return client.Sessions()[0], log
}

func (s *Session) hear(t *testing.T, text string) {
	t.Helper()
	m := new(message)
	if !read([]byte(text), m) {
		t.Fatalf("not a message: %.100s", text)
	}
	if err := s.receive(m); err != nil {
		t.Error(err)
	}
}

// A signaling server that asks without end and takes no response.
func TestRequestsThatCannotBeAnsweredAreNotKept(t *testing.T) {
	s, _ := flooded(t)
	for range maxQueued {
		if err := s.link.out.put(&item{data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		s.hear(t, fmt.Sprintf(`{"id":"q%d","type":"internal","internal":{"type":"dialout","dialout":{"roomid":"x"}}}`, i))
	}
	if n := len(s.requests); n > 0 {
		t.Errorf("%d requests are kept", n)
	}
}

func TestLongIDsAreNotGivenBack(t *testing.T) {
	s, _ := flooded(t)
	long := strings.Repeat("x", maxID+1)
	s.hear(t, `{"id":"`+long+`","type":"internal","internal":{"type":"dialout"}}`)
	if !s.link.out.empty() || len(s.requests) > 0 {
		t.Error("a request with such an id is answered")
	}
	s.hear(t, `{"id":"q","type":"internal","internal":{"type":"dialout","dialout":{"roomid":"`+long+`","request":{}}}}`)
	it := s.link.out.next()
	if it == nil || len(it.data) > 400 || !strings.Contains(string(it.data), "invalid_roomid") {
		t.Errorf("answered %+v", it)
	}
}

func TestSessionsWithLongIDsAreNotRemembered(t *testing.T) {
	r := &Room{session: &Session{}, link: &link{}, members: map[string]*member{}}
	r.came([]byte(`[{"sessionid":"` + strings.Repeat("x", maxID+1) + `"},{"sessionid":"` + strings.Repeat("y", maxID) + `"}]`))
	if n := len(r.members); n != 1 {
		t.Errorf("%d are", n)
	}
}

// Moderators of other rooms, and signaling servers, say what they like.
func TestLinesOfTheLogAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := flooded(t)
		if err := s.AddSession(Phone{CallID: "call-1", RoomID: "1"}); err != nil {
			t.Fatal(err)
		}
		lines := func() int { return strings.Count(log.String(), "\n") }
		flood := func() {
			for i := range 1000 {
				s.hear(t,
					`{"type":"control","control":{"sender":{"type":"session","sessionid":"M"},"recipient":{"type":"session","sessionid":"call-1"},`+
						`"data":{"type":"hangup"}}}`)
				s.hear(t, fmt.Sprintf(`{"id":"q%d","type":"internal","internal":{"type":"dialout","dialout":{"roomid":"x"}}}`, i))
				s.hear(t, `{"id":"none","type":"error","error":{"code":"x"}}`)
			}
		}
		flood()
		if n := lines(); n != maxLines {
			t.Errorf("%d lines", n)
		}
		time.Sleep(5 * time.Second)
		flood()
		if n := lines(); n != maxLines+5 {
			t.Errorf("%d lines after 5 s more", n)
		}
	})
}
