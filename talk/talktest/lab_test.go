package talktest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is a bridge that says just what it is told to.
type peer struct {
	t      *testing.T
	lab    *Lab
	socket *websocket.Conn
	faults []FaultKind
	dialed <-chan string // what Dialout has answered
}

const token = "4271953862"

// with runs a test with a bridge that has said hello and was asked to call a
// number; {id} stands for the request's.
func with(t *testing.T, f func(p *peer)) []FaultKind {
	p := &peer{t: t}
	synctest.Test(t, func(t *testing.T) {
		p.lab = New(t)
		p.lab.OnFault = func(f Fault) { p.faults = append(p.faults, f.Kind) }
		p.connect()
		p.say(hello(`["start-dialout"]`, Secret))
		p.hear() // welcome
		p.hear() // hello
		f(p)
		p.lab.Close()
		p.socket.CloseNow()
	})
	return p.faults
}

func hello(features, secret string) string {
	random := strings.Repeat("0123456789abcdef", 4)
	return fmt.Sprintf(`{"id":"1","type":"hello","hello":{"version":"1.0","features":%s,"auth":{"type":"internal","params":{"random":"%s",`+
		`"token":"%s","backend":"%s"}}}}`,
		features, random, sign(secret, random), CloudURL)
}

func (p *peer) connect() {
	client := &http.Client{Transport: &http.Transport{DialContext: p.lab.Dial, DisableKeepAlives: true}}
	socket, _, err := websocket.Dial(context.Background(), URL+"/spreed", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		p.t.Fatal(err)
	}
	p.socket = socket
}

func (p *peer) say(text string) {
	p.t.Helper()
	if err := p.socket.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
	synctest.Wait()
}

func (p *peer) hear() map[string]any {
	p.t.Helper()
	_, data, err := p.socket.Read(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		p.t.Fatal(err)
	}
	return m
}

// asked has a number called and returns the request's id.
func (p *peer) asked(more ...string) string {
	p.t.Helper()
	answer := make(chan string, 1)
	p.dialed = answer
	go func() {
		id, err := p.lab.Cloud.Dialout(token, "+493055500200", Options(101, more...))
		if err != nil {
			id = err.Error()
		}
		answer <- id
	}()
	return p.hear()["id"].(string)
}

func (p *peer) verify() {
	p.t.Helper()
	random := strings.Repeat("x", 32)
	r, _ := http.NewRequest("POST", CloudURL+"ocs/v2.php/apps/spreed/api/v4/room/"+token+"/verify-dialout",
		strings.NewReader(`{"number":"+493055500200","options":`+Options(101)+`}`))
	r.Header = http.Header{"Ocs-Apirequest": {"true"}, "Talk-Sipbridge-Random": {random},
		"Talk-Sipbridge-Checksum": {sign(SIPSecret, random+token)}}
	client := &http.Client{Transport: &http.Transport{DialContext: p.lab.Dial, DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil || answer.StatusCode != 200 {
		p.t.Fatal(answer, err)
	}
	answer.Body.Close()
}

func status(id, roomID, callID, state string) string {
	return fmt.Sprintf(`{"id":"%s","type":"internal","internal":{"type":"dialout","dialout":{"roomid":"%s","type":"status",`+
		`"status":{"callid":"%s","status":"%s"}}}}`, id, roomID, callID, state)
}

func add(id, options string) string {
	return fmt.Sprintf(`{"id":"%s","type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"c","roomid":"%s",`+
		`"incall":9,"user":{}%s}}}`, id, token, options)
}

const actor = `,"options":{"actorId":"actor-101","actorType":"phones"}`

func TestFaultsOfBridgesAreFound(t *testing.T) {
	begin := func(p *peer) string {
		p.lab.Cloud.Join(token, "alice")
		id := p.asked()
		p.verify()
		p.say(status(id, token, "c", "accepted"))
		if got := <-p.dialed; got != "c" {
			p.t.Errorf("the user was told %s", got)
		}
		return id
	}
	end := func(p *peer) { p.say(status("", token, "c", "cleared")) }
	for _, c := range []struct {
		name string
		do   func(p *peer)
		want FaultKind // "" for none
	}{
		{"none", func(p *peer) { begin(p); p.say(add("a", actor)); end(p) }, ""},
		{"none: refused", func(p *peer) {
			id := p.asked()
			p.say(`{"id":"` + id + `","type":"internal","internal":{"type":"dialout","dialout":{"roomid":"` + token +
				`","type":"error","error":{"code":"x","message":"y"}}}}`)
			if got := <-p.dialed; got != "502 x: y" {
				p.t.Errorf("the user was told %s", got)
			}
		}, ""},
		{"not verified", func(p *peer) { p.say(status(p.asked(), token, "c", "accepted")); <-p.dialed; end(p) }, NotVerified},
		{"no room", func(p *peer) { begin(p); p.say(status("", "", "c", "ringing")); end(p) }, NoRoom},
		{"another room", func(p *peer) { begin(p); p.say(status("", "7", "c", "ringing")); end(p) }, NoRoom},
		{"not cleared", func(p *peer) { begin(p) }, NotCleared},
		{"no actor", func(p *peer) { begin(p); p.say(add("a", "")); end(p) }, NoActor},
		{"reused id", func(p *peer) { id := begin(p); p.say(add(id, actor)); end(p) }, ReusedID},
		{"id of a request that is open", func(p *peer) { p.say(add(p.asked(), actor)); <-p.dialed }, ReusedID},
		{"answered twice", func(p *peer) { id := begin(p); p.say(status(id, token, "c", "ringing")); end(p) }, ReusedID},
		{"injection", func(p *peer) {
			p.lab.SawSIP("INVITE sip:x SIP/2.0\r\nFrom: <sip:+493012345\r\nX-Injected: yes\r\n\r\n")
		}, Injected},
		{"no injection", func(p *peer) { p.lab.SawSIP("INVITE sip:x SIP/2.0\r\nFrom: <sip:+493012345@x>\r\n\r\n") }, ""},
		{"late", func(p *peer) {
			id := p.asked()
			p.verify()
			time.Sleep(11 * time.Second)
			p.say(status(id, token, "c", "accepted"))
			<-p.dialed
			end(p)
		}, LateAccept},
		{"much too late", func(p *peer) {
			id := p.asked()
			p.verify()
			if got := <-p.dialed; !strings.Contains(got, "502 timeout") {
				p.t.Errorf("the user was told %s", got)
			}
			p.say(status(id, token, "c", "accepted"))
			end(p)
		}, LateAccept},
		{"added twice", func(p *peer) { begin(p); p.say(add("a", actor)); p.say(add("b", actor)); end(p) }, AddedTwice},
		{"status after the end", func(p *peer) { begin(p); end(p); p.say(status("", token, "c", "ringing")) }, AfterEnd},
		{"in a room", func(p *peer) { p.say(`{"id":"2","type":"room","room":{"roomid":"` + token + `"}}`) }, BridgeInRoom},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults := with(t, c.do)
			if c.want == "" && len(faults) > 0 || c.want != "" && !slices.Contains(faults, c.want) {
				t.Errorf("faults %q, want %q", faults, c.want)
			}
		})
	}
}

func TestNobodyToAsk(t *testing.T) {
	with(t, func(p *peer) {
		for want, c := range map[string][2]string{"400 number_missing": {token, ""}, "400 invalid_number": {token, "030"},
			"400 invalid_roomid": {"x", "+4930"}} {
			if _, err := p.lab.Cloud.Dialout(c[0], c[1], Options(1)); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
		p.lab.Drop()
		synctest.Wait()
		if _, err := p.lab.Cloud.Dialout(token, "+4930", Options(1)); err == nil || !strings.HasPrefix(err.Error(), "404 no_client_available") {
			t.Error(err)
		}
	})
}

func TestHelloOfTheLab(t *testing.T) {
	with(t, func(p *peer) {
		p.lab.OnFault = func(Fault) {}
		var took time.Duration
		for i := range 11 {
			p.connect()
			p.hear()
			from := time.Now()
			p.say(hello("[]", "wrong"))
			code := p.hear()["error"].(map[string]any)["code"]
			took = time.Since(from)
			if want := []string{"invalid_token", "too_many_requests"}[i/10]; code != want {
				t.Errorf("hello %d: %v", i, code)
			}
			if i == 9 && took != 25*time.Second {
				t.Errorf("hello %d was answered after %v", i, took)
			}
			p.socket.CloseNow()
		}
		if took != 0 {
			t.Errorf("the last answer took %v", took)
		}
		p.connect()
		p.hear()
		from := time.Now()
		if m := p.hear(); m["type"] != "bye" || time.Since(from) != helloTimeout {
			t.Errorf("without hello came %v after %v", m, time.Since(from))
		}
	})
}
