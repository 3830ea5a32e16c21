package lab

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// V1 asks the JSON API as the trusted peer, for an agent. body is JSON, "" for none;
// headers are as curl takes them.
func (s *Service) V1(method, agent, path, body string, headers ...string) Answer {
	s.lab.tb.Helper()
	args := []string{"--interface", TrustedIP, "--request", method}
	if body != "" {
		args = append(args, "--header", "Content-Type: application/json", "--data", body)
	}
	for _, h := range headers {
		args = append(args, "--header", h)
	}
	return s.Curl(append(args, s.Internal+forAgent(path, agent))...)
}

// forAgent says on whose behalf a peer asks.
func forAgent(path, agent string) string {
	mark := "?"
	if strings.Contains(path, "?") {
		mark = "&"
	}
	return path + mark + "agent=" + agent
}

// Event is one of the JSON API.
type Event struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Seq     int64  `json:"seq"`
	CallSeq int64  `json:"call_seq"`
	Final   bool   `json:"final"`
	Data    struct {
		CallID string    `json:"call_id"`
		Leg    string    `json:"leg"`
		Call   *CallInfo `json:"call"`
	} `json:"data"`
}

// String is "leg.ringing l1": what tests compare.
func (e Event) String() string { return strings.TrimSpace(e.Type + " " + e.Data.Leg) }

// CallInfo is what tests look at of a call.
type CallInfo struct {
	ID      string `json:"id"`
	Version int64  `json:"version"`
	State   string `json:"state"`
	TalkMS  *int64 `json:"talk_ms"`
	Legs    []struct {
		ID    string `json:"id"`
		State string `json:"state"`
	} `json:"legs"`
	End *struct {
		Outcome string `json:"outcome"`
		By      string `json:"by"`
		Reason  string `json:"reason"`
		Dialled string `json:"dialled"`
		Message string `json:"message"`
	} `json:"end"`
}

// Stream is a curl that follows events.
type Stream struct {
	*Process
	tb testing.TB
}

// Follow opens a stream of server-sent events for an agent, and waits until it is
// open. path is /v1/events, or that of one call, with its query.
func (s *Service) Follow(agent, path string) *Stream {
	s.lab.tb.Helper()
	name := fmt.Sprintf("events-%d", time.Now().UnixNano())
	st := &Stream{tb: s.lab.tb, Process: startIn(s.lab.tb, name, s.lab.Dir, []string{"HOME=/nonexistent", "no_proxy=*"}, "curl", "--silent", "--show-error", "--no-buffer",
		"--interface", TrustedIP, "--header", "Accept: text/event-stream", s.Internal+forAgent(path, agent))}
	if _, err := st.AwaitLine(0, regexp.MustCompile(`^retry: \d+`), Patience); err != nil {
		st.tb.Fatalf("events: %v\n%s", err, strings.Join(st.Lines(), "\n"))
	}
	return st
}

// Events are those that have come of a call, "" for all.
func (st *Stream) Events(call string) (list []Event) {
	st.tb.Helper()
	for _, line := range st.Lines() {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			st.tb.Fatalf("%s: %v", data, err)
		}
		if call == "" || e.Data.CallID == call {
			list = append(list, e)
		}
	}
	return list
}

// AwaitEvent waits until an event of a call has come: "leg.ringing l2".
func (st *Stream) AwaitEvent(call, event string, patience time.Duration) {
	st.tb.Helper()
	kind, leg, _ := strings.Cut(event, " ")
	pattern := `^data: .*"type":"` + regexp.QuoteMeta(kind) + `".*"call_id":"` + regexp.QuoteMeta(call) + `"`
	if leg != "" {
		pattern += `.*"leg":"` + leg + `"`
	}
	if _, err := st.AwaitLine(0, regexp.MustCompile(pattern), patience); err != nil {
		st.tb.Fatalf("%s of %s: %v; there are %v", event, call, err, st.Events(call))
	}
}

// Kill ends a program at once: it can do nothing any more.
func (p *Process) Kill(tb testing.TB) {
	tb.Helper()
	killGroup(p.cmd.Process)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		tb.Fatalf("%s still runs", p.Name)
	}
}

// Invites is how many calls to a user the service has begun at the proxy: INVITEs
// outside of dialogs, by their Call-IDs.
func (l *Lab) Invites(from *Service, user string) int {
	callIDs := map[string]bool{}
	pattern := regexp.MustCompile(`ladder: INVITE sip:` + user + `@\S+ from ` + regexp.QuoteMeta(from.SIP) + ` cseq \S+ tag <null> callid (\S+)`)
	for _, line := range l.Proxy.Lines() {
		if m := pattern.FindStringSubmatch(line); m != nil {
			callIDs[m[1]] = true
		}
	}
	return len(callIDs)
}
