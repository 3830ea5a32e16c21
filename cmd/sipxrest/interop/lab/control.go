package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// control is the connection to a phone's ctrl_tcp: netstrings of JSON,
// commands with their responses, and events of calls. baresip serves one such
// connection at a time, so it stays open as long as the phone runs.
type control struct {
	conn net.Conn

	mu        sync.Mutex
	known     []Call
	digits    string        // that came as telephone events
	changed   chan struct{} // closed and replaced at every event
	responses map[string]chan response
	tokens    int
	ended     error
}

type response struct {
	ok   bool
	data string
}

// message is an event or a response.
type message struct {
	Event     bool   `json:"event"`
	Type      string `json:"type"`
	Direction string `json:"direction"`
	Peer      string `json:"peeruri"`
	ID        string `json:"id"`
	Param     string `json:"param"`

	Response bool   `json:"response"`
	OK       bool   `json:"ok"`
	Data     string `json:"data"`
	Token    string `json:"token"`
}

func dialControl(addr string) (*control, error) {
	conn, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		return nil, err
	}
	c := &control{conn: conn, changed: make(chan struct{}), responses: make(map[string]chan response)}
	go c.read()
	return c, nil
}

func (c *control) close() { c.conn.Close() }

func (c *control) read() {
	err := c.readAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = fmt.Errorf("control connection: %w", err)
	close(c.changed)
	c.changed = make(chan struct{})
	for token, r := range c.responses {
		close(r)
		delete(c.responses, token)
	}
}

func (c *control) readAll() error {
	r := bufio.NewReader(c.conn)
	for {
		length, err := r.ReadString(':')
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
		if err != nil || n < 0 || n > 1<<20 {
			return fmt.Errorf("bad netstring length %q", length)
		}
		body := make([]byte, n+1) // and the closing comma
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		var m message
		if err := json.Unmarshal(body[:n], &m); err != nil {
			return err
		}
		c.take(m)
	}
}

func (c *control) take(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Response {
		if r := c.responses[m.Token]; r != nil {
			delete(c.responses, m.Token)
			r <- response{m.OK, m.Data}
		}
		return
	}
	if m.Type == "CALL_DTMF_START" {
		c.digits += m.Param
		return
	}
	state := map[string]string{
		"CALL_INCOMING":    "incoming",
		"CALL_OUTGOING":    "outgoing",
		"CALL_RINGING":     "ringing",
		"CALL_PROGRESS":    "ringing",
		"CALL_ESTABLISHED": "established",
		"CALL_CLOSED":      "closed",
	}[m.Type]
	if state == "" {
		return
	}
	i := 0
	for i < len(c.known) && (c.known[i].ID != m.ID || c.known[i].State == "closed") {
		i++
	}
	if i == len(c.known) {
		c.known = append(c.known, Call{ID: m.ID})
	}
	call := &c.known[i]
	call.Peer, call.Outgoing, call.State = m.Peer, m.Direction == "outgoing", state
	if state == "closed" {
		call.Reason = m.Param
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *control) calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Call(nil), c.known...)
}

func (c *control) pressed() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.digits
}

func (c *control) await(timeout time.Duration, ok func([]Call) bool) error {
	deadline := time.After(timeout)
	for {
		c.mu.Lock()
		calls, changed, ended := append([]Call(nil), c.known...), c.changed, c.ended
		c.mu.Unlock()
		if ok(calls) {
			return nil
		}
		if ended != nil {
			return ended
		}
		select {
		case <-changed:
		case <-deadline:
			return fmt.Errorf("not within %v", timeout)
		}
	}
}

// command runs one of baresip's long commands and waits for its response.
func (c *control) command(name, params string) error {
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return c.ended
	}
	c.tokens++
	token := strconv.Itoa(c.tokens)
	done := make(chan response, 1)
	c.responses[token] = done
	c.mu.Unlock()

	body, err := json.Marshal(map[string]string{"command": name, "params": params, "token": token})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.conn, "%d:%s,", len(body), body); err != nil {
		return err
	}
	select {
	case r, ok := <-done:
		switch {
		case !ok:
			return errors.New("the phone closed its control connection")
		case !r.ok:
			return fmt.Errorf("refused: %s", r.data)
		}
		return nil
	case <-time.After(Patience):
		return fmt.Errorf("no response within %v", Patience)
	}
}
