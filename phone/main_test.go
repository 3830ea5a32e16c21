package phone

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"sipxrest/docs/docstest"
	"sipxrest/sipflow/siptest"
)

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(peerCalls)); err == nil {
		rtpPeers(n)
		return
	}
	goleak.VerifyTestMain(m)
}

// cheap is a cost that tests can pay.
var cheap = cost{passes: 1, memory: 64, parallel: 1}

// tempStore is a store of its own with cheap hashes.
func tempStore(t testing.TB) *Store {
	t.Helper()
	return openStore(t, filepath.Join(t.TempDir(), "phone.db"))
}

func openStore(t testing.TB, file string) *Store {
	t.Helper()
	s, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	s.hashing = newHashing(cheap)
	return s
}

// household is a database with people who have logged in. It is made once, for
// all tests begin with a copy.
type household struct {
	data   []byte
	users  map[string]User
	tokens map[string]string
}

var residents *household

func newHousehold(t testing.TB) *household {
	t.Helper()
	file := filepath.Join(t.TempDir(), "phone.db")
	s := openStore(t, file)
	hh := &household{users: map[string]User{}, tokens: map[string]string{}}
	for _, u := range people {
		var err error
		if hh.users[u.Username], err = s.Add(t.Context(), u, passwordOf(u.Username)); err != nil {
			t.Fatal(err)
		}
		if _, hh.tokens[u.Username], err = s.LogIn(t.Context(), u.Username, passwordOf(u.Username)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sam", "kim"} {
		for other, u := range hh.users {
			if other == name {
				continue
			}
			if err := s.Relate(t.Context(), Favorite, hh.users[name].ID, u.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if hh.data, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	return hh
}

// store is a store of its own with the household in it.
func (hh *household) store(t testing.TB) *Store {
	t.Helper()
	file := filepath.Join(t.TempDir(), "phone.db")
	if err := os.WriteFile(file, hh.data, 0o600); err != nil {
		t.Fatal(err)
	}
	return openStore(t, file)
}

const houseAddr = "10.0.0.1:443"

// clientAhead is how many bytes a client of the tests can be ahead of what is
// read of it.
const clientAhead = 32 << 10

// A house is a service with users, on a network in memory and in fake time. Sam
// and kim have made each other favourites, and each of them everybody else; no
// other favours anybody.
type house struct {
	*Service
	t      *testing.T
	net    *siptest.Network
	client *http.Client
	users  map[string]User
	tokens map[string]string
	log    *strings.Builder
}

var document *docstest.Document

// known wants that a response is described.
func (h *house) known(method, path string, status int) {
	h.t.Helper()
	path, _, _ = strings.Cut(path, "?")
	o := described(document, method, path)
	if o == nil || status == 405 || status == 500 {
		return
	}
	if _, ok := o.Responses[status]; !ok {
		h.t.Errorf("%s %s answers %d, which docs/openapi.yaml does not have", method, path, status)
	}
}

var people = []User{
	{Username: "sam", DisplayName: "Sam <Iam>", Image: "sam.png", Pronoun: "they"},
	{Username: "kim"},
	{Username: "eve"},
	{Username: "low", Level: "quarantined"},
}

func passwordOf(name string) string { return "password of " + name }

// at runs f in a house.
func at(t *testing.T, f func(h *house), options ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if residents == nil {
			residents = newHousehold(t)
		}
		store := residents.store(t)
		cfg := Config{Store: store, MaxCall: time.Hour, RequestRate: 1000, Address: func(r *http.Request) netip.Addr {
			return netip.MustParseAddrPort(r.RemoteAddr).Addr()
		}}
		for _, o := range options {
			o(&cfg)
		}
		var log strings.Builder
		s, err := New(cfg, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		h := &house{Service: s, t: t, net: siptest.NewNetwork(), users: maps.Clone(residents.users), tokens: maps.Clone(residents.tokens),
			log: &log}
		h.net.Forget = true
		if document == nil { // read once for all
			document = docstest.Read(t, "../docs/openapi.yaml")
		}
		server := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
		socket := h.net.ListenTCP(houseAddr)
		served := make(chan struct{})
		go func() { _ = server.Serve(socket); close(served) }()
		transport := &http.Transport{DialContext: h.connect}
		h.client = &http.Client{Transport: transport}
		f(h)
		s.Shutdown()
		_ = server.Close()
		transport.CloseIdleConnections()
		<-served
		settle()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if n := len(s.calls) + len(s.busy) + len(s.devices) + s.sockets; n != 0 {
			t.Errorf("%d calls and sockets are left", n)
		}
	})
}

// connect opens a connection to the service.
func (h *house) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := h.net.DialFrom("10.0.0.2")(ctx, network, address)
	if err == nil {
		err = conn.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(clientAhead)
	}
	return conn, err
}

// settle lets everything under way arrive, in fake time.
func settle() { time.Sleep(time.Second) }

func (h *house) relate(r Relation, user, other string) {
	h.t.Helper()
	if err := h.cfg.Store.Relate(h.t.Context(), r, h.users[user].ID, h.users[other].ID); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) id(name string) string { return h.users[name].ID.String() }

// ask sends a request; who is a user's name, or a whole Authorization field.
func (h *house) ask(who, method, path, body string, fields ...string) (*http.Response, string) {
	h.t.Helper()
	r, err := http.NewRequest(method, "http://"+houseAddr+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	h.authorize(r.Header, who)
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	res, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if method != http.MethodOptions {
		h.known(method, path, res.StatusCode)
	}
	return res, string(text)
}

func (h *house) authorize(header http.Header, who string) {
	if token := h.tokens[who]; token != "" {
		header.Set("Authorization", "Bearer "+token)
	} else if who != "" {
		header.Set("Authorization", who)
	}
}

// wants asks, and wants a response of that status, and that reason if it is an
// error.
func (h *house) wants(who, method, path, body string, status int, reason string) {
	h.t.Helper()
	res, text := h.ask(who, method, path, body)
	h.compare(method+" "+path, res, text, status, reason)
}

func (h *house) compare(what string, res *http.Response, text string, status int, reason string) {
	h.t.Helper()
	want, kind := "", ""
	if reason != "" {
		quoted, _ := json.Marshal(reason)
		want, kind = `{"error":true,"status":`+itoa(status)+`,"reason":`+string(quoted)+`}`, "application/json; charset=utf-8"
	}
	if res.StatusCode != status || text != want || res.Header.Get("Content-Type") != kind {
		h.t.Errorf("%s: %d %s %q, want %d %s %q", what, res.StatusCode, res.Header.Get("Content-Type"), text, status, kind, want)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// A client is one WebSocket of a user's. It notes what it gets.
type client struct {
	*websocket.Conn
	h *house

	mu     sync.Mutex
	got    []string
	closed error // how reading ended
}

// dial opens a socket.
func (h *house) dial(who, path string, fields ...string) (*client, *http.Response, string) {
	h.t.Helper()
	header := http.Header{}
	h.authorize(header, who)
	for i := 0; i+1 < len(fields); i += 2 {
		header.Set(fields[i], fields[i+1])
	}
	ws, res, err := websocket.Dial(h.t.Context(), "http://"+houseAddr+path, &websocket.DialOptions{HTTPClient: h.client, HTTPHeader: header})
	if err != nil {
		if res == nil {
			h.t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		h.known(http.MethodGet, path, res.StatusCode)
		return nil, res, string(text)
	}
	ws.SetReadLimit(1 << 20)
	return &client{Conn: ws, h: h}, res, ""
}

// open opens a socket that is not refused, and reads it.
func (h *house) open(who, path string) *client {
	h.t.Helper()
	c, res, text := h.dial(who, path)
	if c == nil {
		h.t.Fatalf("%s %s: %d %s", who, path, res.StatusCode, text)
	}
	go c.read()
	return c
}

func (c *client) read() {
	for {
		_, b, err := c.Read(context.Background())
		c.mu.Lock()
		if err != nil {
			c.closed = err
			c.mu.Unlock()
			return
		}
		c.got = append(c.got, string(b))
		c.mu.Unlock()
	}
}

// heard returns what came since it was asked last.
func (c *client) heard() []string {
	settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

// hears wants exactly these messages.
func (c *client) hears(what string, want ...string) {
	c.h.t.Helper()
	got := c.heard()
	if len(got) != len(want) {
		c.h.t.Fatalf("%s: %q, want %q", what, got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			c.h.t.Errorf("%s: %q, want %q", what, got[i], want[i])
		}
	}
}

// ends wants that the socket was closed with a code, and no reason.
func (c *client) ends(what string, code websocket.StatusCode) {
	c.h.t.Helper()
	settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	var e websocket.CloseError
	if !errors.As(c.closed, &e) || e.Code != code || e.Reason != "" {
		c.h.t.Errorf("%s: ended with %v, want %d", what, c.closed, code)
	}
}

func (c *client) stays(what string) {
	c.h.t.Helper()
	settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		c.h.t.Errorf("%s: ended with %v", what, c.closed)
	}
}

func (c *client) say(message string) {
	c.h.t.Helper()
	if err := c.Write(c.h.t.Context(), websocket.MessageBinary, []byte(message)); err != nil {
		c.h.t.Fatal(err)
	}
}

// audio is a message of n samples that all have one value.
func audio(n int, value int16) string {
	b := binary.LittleEndian.AppendUint32(nil, uint32(n))
	for range n {
		b = binary.LittleEndian.AppendUint16(b, uint16(value))
	}
	return string(b)
}

const (
	callA = "6F9619FF-8B86-D011-B42D-00C04FC964FF"
	callB = "7F9619FF-8B86-D011-B42D-00C04FC964FF"
)

func (h *house) notified(who string) *client { return h.open(who, "/api/v3/notification/socket") }

func initiatePath(call, user string) string {
	return "/api/v3/phone/socket/initiate/" + call + "/to/" + user
}

func answerPath(call string) string { return "/api/v3/phone/socket/answer/" + call }

func answeredText(call string) string {
	return `{"type":{"phoneCallAnswered":{}},"info":"","contentID":"` + call + `"}`
}

func endedText(call string) string {
	return `{"type":{"phoneCallEnded":{}},"info":"","contentID":"` + call + `"}`
}

// talk is a call from sam to kim, who has two devices; sam has one.
type talk struct {
	sam, kim1, kim2 *client // notification sockets
	from, to        *client // phone sockets
}

func (h *house) ringing() *talk {
	h.t.Helper()
	c := &talk{sam: h.notified("sam"), kim1: h.notified("kim"), kim2: h.notified("kim")}
	c.from = h.open("sam", initiatePath(callA, h.id("kim")))
	want := `{"type":{"incomingPhoneCall":{}},"info":"sam","contentID":"` + callA + `","caller":{"userID":"` + h.id("sam") +
		`","username":"sam","displayName":"Sam <Iam>","userImage":"sam.png","preferredPronoun":"they"}}`
	c.kim1.hears("first device", want)
	c.kim2.hears("second device", want)
	c.sam.hears("the caller's device")
	return c
}

func (h *house) talking() *talk {
	h.t.Helper()
	c := h.ringing()
	settleTo := time.Now()
	c.to = h.open("kim", answerPath(callA))
	start := `{"phonecallStartTime":"`
	for what, phone := range map[string]*client{"caller": c.from, "callee": c.to} {
		got := phone.heard()
		if len(got) != 1 || !strings.HasPrefix(got[0], start) {
			h.t.Fatalf("%s: %q", what, got)
		}
		began, err := time.Parse(time.RFC3339Nano, got[0][len(start):len(got[0])-2])
		if err != nil || began.Sub(settleTo).Abs() > time.Second || len(got[0]) != len(`{"phonecallStartTime":"2024-03-02T18:12:23.123Z"}`) ||
			!strings.HasSuffix(got[0], `Z"}`) {
			h.t.Errorf("%s: %q, %v", what, got[0], err)
		}
	}
	c.kim1.hears("first device", answeredText(callA))
	c.kim2.hears("second device", answeredText(callA))
	c.sam.hears("the caller's device")
	return c
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}
