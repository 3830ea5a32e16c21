package sipflow

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// story is what the observers of a switchboard are told of one call, and what is wrong
// with it.
type story struct {
	diverted                     bool
	legs                         []toldLeg
	stage                        Stage
	connecting, joined, released bool
	ended                        bool
	lines                        []string
	wrong                        []string
}

// toldLeg is one of its legs.
type toldLeg struct {
	role  Role
	state EventKind // Placed while it is pending
}

// stories are those of all calls, by their ids. They keep nothing of an event.
type stories struct {
	mu    sync.Mutex
	calls map[string]*story
	order []string
	wrong []string
}

var stageOrder = []Stage{StageRouting, StageDiallingCalling, StageRingingCalling, StageDiallingCalled, StageRingingCalled, StageConnected,
	StageReleased}

// observe is for New.
func (s *stories) observe(e *Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.ID == "" {
		s.wrong = append(s.wrong, "an event without an id: "+tellEvent(e))
		return
	}
	call := s.calls[e.ID]
	if call == nil {
		if s.calls == nil {
			s.calls = map[string]*story{}
		}
		call = &story{}
		s.calls[e.ID] = call
		s.order = append(s.order, e.ID)
		if e.Kind != Placed && e.Kind != Resumed {
			call.wrong = append(call.wrong, "it does not begin with Placed")
		}
	} else if e.Kind == Placed {
		call.wrong = append(call.wrong, "placed twice")
	}
	call.take(e)
}

// take checks an event by those before it.
func (s *story) take(e *Event) {
	fail := func(format string, args ...any) {
		s.wrong = append(s.wrong, fmt.Sprintf(format, args...)+": "+tellEvent(e))
	}
	if s.ended {
		fail("after Ended")
	}
	if line := tellEvent(e); line != "" {
		s.lines = append(s.lines, line)
	}
	was, is := slices.Index(stageOrder, s.stage), slices.Index(stageOrder, e.Stage)
	if e.Kind == LegRedirected && e.Leg.Code == 0 { // a client has another phone called
		s.diverted = true
	}
	if is < 0 || is < was && e.Stage != StageRouting && !s.diverted {
		fail("stage after %s", s.stage)
	}
	s.stage = e.Stage
	switch e.Kind {
	case Resumed:
		for _, l := range e.Legs {
			for len(s.legs) < l.N-1 {
				s.legs = append(s.legs, toldLeg{state: LegEnded})
			}
			s.legs = append(s.legs, toldLeg{role: l.Role})
		}
	case Placed:
		if e.Spec == nil || len(e.Legs) == 0 {
			fail("without Spec or Legs")
		}
		for i, l := range e.Legs {
			if l.N != i+1 {
				fail("leg %d is called %d", i+1, l.N)
			}
			s.legs = append(s.legs, toldLeg{role: l.Role})
		}
	case Connecting:
		if s.connecting || s.joined {
			fail("out of turn")
		}
		s.connecting = true
	case Joined:
		if s.joined {
			fail("joined twice")
		}
		s.joined = true
	case Released:
		if s.released || s.joined || e.FinalBy.Before(e.At) {
			fail("out of turn")
		}
		s.released = true
	case LegDialling, LegAlerted, LegAnswered, LegRedirected, LegEnded, FlowChanged, LegHeld, LegResumed, LegMuted, LegUnmuted, Digit:
		s.leg(e, fail)
	case Ended:
		s.ended = true
		for i, l := range s.legs {
			if l.state != LegEnded {
				fail("leg %d has not ended", i+1)
			}
		}
		s.cause(e, fail)
	}
}

// leg checks an event about a leg.
func (s *story) leg(e *Event, fail func(string, ...any)) {
	if e.Leg == nil {
		fail("about no leg")
		return
	}
	n := e.Leg.N
	if n == len(s.legs)+1 {
		s.legs = append(s.legs, toldLeg{role: e.Leg.Role})
	}
	if n < 1 || n > len(s.legs) {
		fail("of %d legs", len(s.legs))
		return
	}
	l := &s.legs[n-1]
	if l.state == LegEnded {
		fail("after LegEnded")
	}
	switch e.Kind {
	case LegDialling, LegAlerted, LegAnswered:
		if l.state >= e.Kind || e.Kind > LegDialling && l.state == Placed && l.role != RoleCaller && e.Leg.CallID != "" && l.role != RoleTarget {
			fail("after %v", l.state)
		}
		l.state = e.Kind
	case LegEnded:
		l.state = LegEnded
		s.cause(e, fail)
		if e.Cause != nil && !e.Cause.Other && e.Cause.By != ClientParty && e.Cause.By != Self && e.Cause.Leg != n {
			fail("its own end is of another leg")
		}
		if e.Cause != nil && e.Cause.Other && e.Cause.Leg == n {
			fail("it ended because of itself")
		}
	}
}

// cause checks why something ended.
func (s *story) cause(e *Event, fail func(string, ...any)) {
	c := e.Cause
	switch {
	case c == nil:
		fail("without a cause")
	case c.Leg < 0 || c.Leg > len(s.legs):
		fail("on leg %d of %d", c.Leg, len(s.legs))
	case c.Stage == "":
		fail("at no stage")
	case c.Code != 0 && (c.Code < 200 || c.Code > 699):
		fail("with code %d", c.Code)
	case c.Q850 < 0 || c.Q850 > 127 || c.Q850Header && c.Q850 == 0:
		fail("with cause %d", c.Q850)
	}
}

// problems are what was wrong, and the calls that have not ended.
func (s *stories) problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.wrong)
	for _, id := range s.order {
		c := s.calls[id]
		if !c.ended {
			c.wrong = append(c.wrong, "it has not ended")
		}
		if len(c.wrong) > 0 {
			all = append(all, strings.Join(c.wrong, "\n")+"\nin\n"+strings.Join(c.lines, "\n"))
		}
	}
	return all
}

// text is what was told of all calls, without what differs from run to run.
func (s *stories) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for i, id := range s.order {
		if i > 0 {
			b.WriteByte('\n')
		}
		for _, line := range s.calls[id].lines {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

var kindNames = map[EventKind]string{Placed: "placed", Moved: "moved", Joined: "connected", Ended: "ended", LegDialling: "dialling",
	LegAlerted: "alerted", LegAnswered: "answered", LegRedirected: "redirected", LegEnded: "leg ended", Connecting: "connecting",
	FlowChanged: "flow changed", Released: "released", LegHeld: "held", LegResumed: "resumed", LegMuted: "muted", LegUnmuted: "unmuted",
	TransferChanged: "transfer", Digit: "digit", Resumed: "taken over"}

// tellEvent is an event as a golden file has it; "" for those that the ladders show.
func tellEvent(e *Event) string {
	name := kindNames[e.Kind]
	if name == "" {
		return ""
	}
	line := name
	if l := e.Leg; l != nil {
		line = fmt.Sprintf("l%d %s %s %s", l.N, l.Role, name, l.Address)
		if e.Again {
			line = "again " + line
		}
		if l.Via != "" {
			line += " via " + l.Via
		}
		if l.Hop != "" && e.Kind == LegDialling {
			line += " by " + l.Hop
		}
		if l.Code != 0 && e.Kind != LegEnded {
			line += fmt.Sprintf(" %d %s", l.Code, l.Reason)
		}
		if l.EarlyMedia {
			line += " with media"
		}
		if l.From != "" || l.To != "" {
			line += " from " + l.From + " to " + l.To
		}
		for _, t := range l.Tried {
			line += fmt.Sprintf(" (%s: %s)", t.Hop, t.Why)
		}
	}
	for _, l := range e.Legs {
		line += fmt.Sprintf(" l%d=%s:%s", l.N, l.Role, l.Address)
	}
	if t := e.Transfer; t != nil {
		line += fmt.Sprintf(" t%d %s %s to %s", t.N, t.Mode, t.State, t.To)
	}
	if e.Kind == Released {
		line += fmt.Sprintf(" for %v", e.FinalBy.Sub(e.At).Round(time.Second))
	}
	if e.Kind == Digit {
		line += " " + string(e.Digit)
	}
	line += " [" + string(e.Stage) + "]"
	if c := e.Cause; c != nil {
		line += " by " + PartyName(c.By)
		if c.Leg != 0 {
			line += fmt.Sprintf(", leg %d", c.Leg)
		}
		line += ", " + string(c.Stage)
		if c.Code != 0 || c.Method != "" {
			line += fmt.Sprintf(", %s %d %s", c.Method, c.Code, c.Reason)
		}
		for _, flag := range [...]struct {
			is   bool
			name string
		}{{c.Synthesized, "synthesized"}, {c.Other, "other"}, {c.NotTried, "not tried"}, {c.Lost, "lost"}} {
			if flag.is {
				line += ", " + flag.name
			}
		}
		if c.Hop != "" {
			line += " of " + c.Hop
		}
		if c.Q850 != 0 {
			line += fmt.Sprintf(", Q.850 %d %s", c.Q850, c.Q850Text)
			if c.Q850Header {
				line += " (header)"
			}
		}
		if c.Err != nil {
			line += ": " + c.Err.Error()
		}
	}
	return line
}

// goldenEvents compares what was told with the file of the case, where its ladder has
// one, too.
func (r *rig) goldenEvents() {
	r.t.Helper()
	test, name, ok := strings.Cut(r.t.Name(), "/")
	if !ok ||
		!slices.Contains(
			[]string{"TestReferFlows", "TestBridgedCalls", "TestInboundCalls", "TestDial", "TestConversations", "TestOffers"},
			test,
		) {
		return
	}
	if _, err := os.Stat(filepath.Join("testdata", "flows", name+".golden")); err != nil {
		return
	}
	goldenText(r.t, name, r.stories.text())
}

// goldenText compares a text with testdata/events/name.golden; -update rewrites that.
func goldenText(t testing.TB, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "events", name+".golden")
	if flag.Lookup("update").Value.String() == "true" {
		if err := cmp.Or(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run the test with -update to write it)", err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("the events are not %s (-want +got; -update rewrites it):\n%s", file, diff)
	}
}
