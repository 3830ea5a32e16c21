package talktest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sipxrest/media"
	"sipxrest/media/sfu"
)

// patience is how long is waited for what comes at once, unless the machine has much
// else to do. It only matters when a test fails.
const patience = time.Minute

// bridge is one whose media are real, and that does right or wrong as it is told.
type bridge struct {
	t      *testing.T
	lab    *Lab
	sfu    *sfu.SFU
	socket *websocket.Conn
	id     string
	joined chan string  // sessions of others
	errors chan message // with their code as Type
	offers chan event
	answer chan event

	mu    sync.Mutex
	early []event // candidates
	take  map[string]func(sfu.Candidate) error
}

// mediaLab is one with a stand-in for Janus, and what was a fault in it.
func mediaLab(t *testing.T) (*Lab, func() []FaultKind) {
	l := New(t)
	var faults []FaultKind // guarded by Lab.mu
	l.OnFault = func(f Fault) { faults = append(faults, f.Kind) }
	l.AddSFU()
	return l, func() []FaultKind {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.Clone(faults)
	}
}

// newBridge is in the room, and publishes nothing.
func newBridge(t *testing.T, l *Lab) *bridge {
	t.Helper()
	s, err := sfu.New(sfu.Config{Address: netip.MustParseAddr("127.0.0.1"), Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	b := &bridge{t: t, lab: l, sfu: s, joined: make(chan string, 64), errors: make(chan message, 16), offers: make(chan event, 16),
		answer: make(chan event, 16), take: map[string]func(sfu.Candidate) error{}}
	client := &http.Client{Transport: &http.Transport{DialContext: l.Dial, DisableKeepAlives: true}}
	if b.socket, _, err = websocket.Dial(t.Context(), URL+"/spreed", &websocket.DialOptions{HTTPClient: client}); err != nil {
		t.Fatal(err)
	}
	b.socket.SetReadLimit(1 << 20)
	b.say(hello(`["internal-incall"]`, Secret))
	b.say(`{"id":"join","type":"room","room":{"roomid":"` + token + `"}}`)
	ready, done := make(chan bool, 1), make(chan bool)
	go func() {
		defer close(done)
		for {
			_, data, err := b.socket.Read(context.Background())
			if err != nil {
				return
			}
			b.hear(data, ready)
		}
	}()
	<-ready
	t.Cleanup(func() {
		b.socket.CloseNow()
		<-done
		_ = s.Close()
	})
	return b
}

func (b *bridge) hear(data []byte, ready chan bool) {
	var e event
	var hello struct {
		Hello struct {
			SessionID string `json:"sessionid"`
		} `json:"hello"`
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_, _ = json.Unmarshal(data, &e), json.Unmarshal(data, &hello)
	switch {
	case e.Type == "hello":
		b.id = hello.Hello.SessionID
	case e.Type == "room":
		select {
		case ready <- true:
		default: // the room is gone
		}
	case e.Type == "error":
		b.errors <- message{ID: e.ID, Type: hello.Error.Code}
	case e.Message.Data.Type == "answer":
		b.answer <- e
	case e.Message.Data.Type == "offer":
		b.offers <- e
	case e.Message.Data.Type == "candidate":
		b.mu.Lock()
		defer b.mu.Unlock()
		if take := b.take[e.Message.Data.SID]; take != nil {
			_ = take(sfu.Candidate(e.Message.Data.Payload.Candidate))
		} else {
			b.early = append(b.early, e)
		}
	}
}

// candidates gives those of sid to take.
func (b *bridge) candidates(sid string, take func(sfu.Candidate) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.take[sid] = take
	for _, e := range b.early {
		if e.Message.Data.SID == sid {
			_ = take(sfu.Candidate(e.Message.Data.Payload.Candidate))
		}
	}
}

func (b *bridge) say(text string) {
	b.t.Helper()
	if err := b.socket.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		b.t.Fatal(err)
	}
}

// tell sends a message about media.
func (b *bridge) tell(id, to string, data object) {
	text, _ := json.Marshal(object{"id": id, "type": "message", "message": object{
		"recipient": object{"type": "session", "sessionid": to}, "data": data}})
	b.say(string(text))
}

func (b *bridge) inCall(flags string) {
	b.say(`{"type":"internal","internal":{"type":"incall","incall":{"incall":` + flags + `}}}`)
}

func (b *bridge) bye() {
	b.say(`{"type":"bye","bye":{}}`)
	b.lab.Until("the bridge has gone", patience, func() bool {
		b.lab.mu.Lock()
		defer b.lab.mu.Unlock()
		return b.lab.sessions[b.id] == nil
	})
}

// error waits for the next one.
func (b *bridge) error() (id, code string) {
	b.t.Helper()
	select {
	case m := <-b.errors:
		return m.ID, m.Type
	case <-time.After(patience):
		b.t.Fatal("no error came")
		return "", ""
	}
}

func wait(t *testing.T, c chan event) event {
	t.Helper()
	select {
	case e := <-c:
		return e
	case <-time.After(patience):
		t.Fatal("nothing came")
		return event{}
	}
}

// offer publishes, and returns once that is connected.
func (b *bridge) offer(sid string, to string) *sfu.Publisher {
	b.t.Helper()
	connected := make(chan bool, 1)
	p, offer, err := b.sfu.Publish(media.G722, sfu.Events{Connected: func(time.Duration) { connected <- true }})
	if err != nil {
		b.t.Fatal(err)
	}
	b.tell("offer-"+sid, to, object{"type": "offer", "roomType": "video", "sid": sid, "audiocodec": "g722",
		"payload": object{"type": "offer", "sdp": offer}})
	a := wait(b.t, b.answer)
	b.candidates(a.Message.Data.SID, p.Candidate)
	if err := p.Answer(a.Message.Data.Payload.SDP); err != nil {
		b.t.Fatal(err)
	}
	select {
	case <-connected:
	case <-time.After(patience):
		b.t.Fatal("the publisher is not connected")
	}
	return p
}

// ask hears a session.
func (b *bridge) ask(id string) *sfu.Subscription {
	b.t.Helper()
	b.tell("ask", id, object{"type": "requestoffer", "roomType": "video"})
	o := wait(b.t, b.offers)
	s, answer, err := b.sfu.Subscribe(o.Message.Data.Payload.SDP, sfu.Events{})
	if err != nil {
		b.t.Fatal(err)
	}
	sid := o.Message.Data.SID
	b.candidates(sid, s.Candidate)
	b.tell("", id, object{"type": "answer", "roomType": "video", "sid": sid, "payload": object{"type": "answer", "sdp": answer}})
	return s
}

// play is a bridge's clock: it calls f every 20 ms, until stop.
func play(d time.Duration, stop <-chan bool, f func(n int, now time.Time)) {
	clock := time.NewTicker(20 * time.Millisecond)
	defer clock.Stop()
	for n := range int(d / (20 * time.Millisecond)) {
		select {
		case now := <-clock.C:
			f(n, now)
		case <-stop:
			return
		}
	}
}

// soon waits for what comes without a message.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// publishes reports whether a session does.
func (l *Lab) publishes(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[id] != nil && l.sessions[id].publishes != nil
}

// hears reports whether a session has the offer of another one.
func (l *Lab) hears(who, whom string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[who]
	return s != nil && s.hears[whom] != nil
}
