package event

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// cdrDatabase is a database with the table alone.
func cdrDatabase(t *testing.T) cdrTable {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "cdr.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, text := range []string{cdrSchema(), migrations[3]} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	return cdrTable{db}
}

func (t cdrTable) put(test *testing.T, list ...*CDR) {
	test.Helper()
	for _, r := range list {
		if _, err := t.db.Exec(insertCDR, cdrValues(r)...); err != nil {
			test.Fatal(err)
		}
	}
}

var noon = time.Date(2026, 11, 30, 12, 0, 0, int(time.Millisecond), time.UTC)

// aCall is a call by INVITE, a minute after the one before it, that was talked on.
func aCall(n int) *Call {
	at := func(ms int) Time {
		return At(noon.Add(time.Duration(n)*time.Minute + time.Duration(ms)*time.Millisecond))
	}
	talk, ring := int64(38600), int64(2280)
	return &Call{ID: fmt.Sprintf("call_%03d", n), Object: "call", Version: 10, Kind: ClickToCall, Source: FromAPI, State: Ended,
		Agent:     "201@example.com",
		RequestID: "r1", Tags: map[string]string{"deal": "4711"}, Metadata: json.RawMessage(`{"a":1}`),
		Flow: Flow{Requested: "auto", Used: "invite"}, Knowledge: Knowledge{Level: "full"},
		Legs: []Leg{
			{ID: "l1", Role: RoleCalling, Address: "201@example.com", State: LegEnded, DialingAt: at(4), RingingAt: at(120),
				AnsweredAt: at(2400), EndedAt: at(42000),
				SIP: &LegSIP{CallID: "a84b@192.0.2.1", Hop: "udp:192.0.2.10:5060", Contact: "sip:201@192.0.2.76"}},
			{ID: "l2", Role: RoleCalled, Address: "202@example.com", State: LegEnded, DialingAt: at(2401), RingingAt: at(2600),
				AnsweredAt: at(3400), EndedAt: at(42000),
				SIP: &LegSIP{CallID: "b84b@192.0.2.1", Hop: "udp:192.0.2.10:5060", Contact: "sip:202@192.0.2.77"}},
		},
		CreatedAt: at(0), ConnectedAt: at(3400), EndedAt: at(42000), RingMS: &ring, TalkMS: &talk,
		End: &End{Outcome: Completed, By: "called", Stage: "connected", Leg: "l2", Reason: "hung_up", SIP: &Status{Code: 200, Method: "BYE"},
			Q850: &Q850{Cause: 16, Source: "header"}, Dialled: "yes", Message: "202 hung up."}}
}

func TestTheRecordOfACall(t *testing.T) {
	busy := aCall(1)
	busy.ConnectedAt, busy.TalkMS, busy.Legs[1].AnsweredAt = Time{}, nil, Time{}
	busy.End = &End{Outcome: Busy, By: "called", Leg: "l2", Stage: "ringing_called", Reason: "busy", SIP: &Status{Code: 486,
		Synthesized: false},
		Q850: &Q850{Cause: 17, Source: "mapped"}, Message: "202 is busy."}
	moved := aCall(2)
	moved.Transfers = []Transfer{{ID: "t1", To: "203@example.com", State: "failed"}, {ID: "t2", To: "204@example.com", State: "completed"}}
	in := aCall(3)
	in.Kind, in.Source, in.Agent, in.Flow = Inbound, FromDispatch, "", Flow{}
	in.Legs[0].Role, in.Legs[0].Address, in.Legs[1].Role = RoleCaller, "+4930123@trunk.example", RoleTarget
	in.Legs = append(in.Legs, Leg{ID: "l3", Role: RoleTarget, Address: "203@example.com", State: LegEnded, AnsweredAt: in.ConnectedAt})
	in.Legs[1].AnsweredAt = Time{}
	lost := &Call{ID: "call_004", Kind: DialOut, Source: FromTalk, Knowledge: Knowledge{Level: "lost", Text: "crash"},
		CreatedAt: At(noon), EndedAt: At(noon),
		Legs: []Leg{}, End: &End{Outcome: Unknown, By: "service", Stage: "routing", Reason: "service_restarted",
			Message: "The service was restarted."}}
	var got strings.Builder
	table := cdrDatabase(t)
	for _, c := range []*Call{aCall(0), busy, moved, in, lost} {
		r := Record(c)
		text, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s\n", text)
		// What SQLite returns is what it was given.
		table.put(t, r, r)
		back, err := table.get(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := json.MarshalIndent(back, "", " "); string(again) != string(text) {
			t.Errorf("SQLite returns\n%s\nof\n%s", again, text)
		}
	}
	var n int
	if err := table.db.QueryRow("SELECT count(*) FROM cdrs").Scan(&n); err != nil || n != 5 {
		t.Errorf("%d records of 5 calls that were written twice each, error %v", n, err)
	}
	golden(t, "cdr.golden", got.String())
}

func TestTheLettersOfSipXecs(t *testing.T) {
	answered, rang := []Leg{{Role: RoleCalling}, {Role: RoleCalled, AnsweredAt: At(noon)}}, []Leg{{Role: RoleCalling,
		AnsweredAt: At(noon)}, {Role: RoleCalled}}
	for _, c := range []struct {
		outcome Outcome
		reason  string
		legs    []Leg
		want    string
	}{
		{Completed, "hung_up", nil, "C"}, {Completed, "time_limit", nil, "C"}, {Completed, "transferred_away", nil, "T"}, {Merged, "merged",
			nil, "T"},
		{Busy, "busy", nil, "F"}, {Declined, "declined", nil, "F"}, {NoAnswer, "no_answer", nil, "F"}, {Unreachable, "not_found", nil, "F"},
		{Failed, "server_error", nil, "F"}, {Cancelled, "caller_gave_up", nil, "A"}, {Cancelled, "replaced", nil, "A"},
		{HandedOver, "handed_over", answered, "C"}, {HandedOver, "handed_over", rang, "U"}, {HandedOver, "redirected", nil, "U"},
		{Unknown, "service_restarted", nil, "U"}, {Unknown, "refer_unreported", rang, "U"},
	} {
		if got := termination(&Call{Legs: c.legs, End: &End{Outcome: c.outcome, Reason: c.reason}}); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.outcome, c.reason, got, c.want)
		}
	}
	if got := termination(&Call{}); got != "I" {
		t.Errorf("a call that is not over: %s, want I", got)
	}
}

func TestRecordsAreFiltered(t *testing.T) {
	table, memory := cdrDatabase(t), cdrMemory{}
	for n := range 6 {
		c := aCall(n)
		switch n {
		case 1:
			c.Agent, c.Legs[0].Address = "205@example.com", "205@example.com"
		case 2:
			c.End.Outcome, c.End.Reason, c.End.SIP = Busy, "busy", &Status{Code: 486}
		case 3:
			c.Legs[1].Address = `"'%_@example.com`
		case 4:
			c.Tags = map[string]string{`a"b.c`: "x", "deal": "1"}
			short := int64(10)
			c.TalkMS = &short
		case 5:
			c.Kind, c.Source, c.Flow.Used = Inbound, FromDispatch, "refer"
		}
		table.put(t, Record(c))
		memory = append(memory, Record(c))
	}
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	for _, c := range []struct {
		name string
		f    CDRFilter
		want string
	}{
		{"all", CDRFilter{}, "543210"},
		{"oldest first", CDRFilter{Oldest: true}, "012345"},
		{"kind", CDRFilter{Kinds: []string{"inbound"}}, "5"},
		{"source", CDRFilter{Sources: []string{"dispatch", "talk"}}, "5"},
		{"flow", CDRFilter{Flows: []string{"refer"}}, "5"},
		{"outcome", CDRFilter{Outcomes: []string{"busy"}}, "2"},
		{"reason", CDRFilter{Reasons: []string{"busy"}}, "2"},
		{"letter", CDRFilter{Terminations: []string{"F"}}, "2"},
		{"code", CDRFilter{SIPCodes: []int64{486}}, "2"},
		{"agent", CDRFilter{Agents: []string{"205@example.com"}}, "1"},
		{"caller", CDRFilter{Callers: []string{"205@example.com"}}, "1"},
		{"callee is no pattern", CDRFilter{Callees: []string{`%@example.com`}}, ""},
		{"callee", CDRFilter{Callees: []string{`"'%_@example.com`}}, "3"},
		{"user", CDRFilter{Users: []string{"205@example.com", `"'%_@example.com`}}, "31"},
		{"tag", CDRFilter{Tags: map[string]string{`a"b.c`: "x"}}, "4"},
		{"tags", CDRFilter{Tags: map[string]string{`a"b.c`: "x", "deal": "4711"}}, ""},
		{"talk", CDRFilter{MinTalk: 11 * time.Millisecond}, "53210"},
		{"start", CDRFilter{StartAfter: at(1), StartBefore: at(4)}, "32"},
		{"end", CDRFilter{EndAfter: at(4), EndBefore: at(5).Add(42 * time.Second)}, "4"},
		{"users at any host", CDRFilter{Users: []string{"205", `"'%_`}}, "31"},
		{"a party", CDRFilter{Parties: []string{"205"}}, "1"},
		{"not part of a name", CDRFilter{Users: []string{"20", "05@example.com", "%"}}, ""},
		{"of a party", CDRFilter{OfParty: []string{"205@example.com"}}, "1"},
		{"of nobody", CDRFilter{OfParty: []string{}}, ""},
		{"two of them", CDRFilter{OfParty: []string{"205@example.com"}, Kinds: []string{"inbound"}}, ""},
	} {
		for _, from := range []cdrReader{table, memory} {
			list, next, err := from.list(t.Context(), &c.f, "", 100, 0)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			got := ""
			for _, r := range list {
				got += r.CallID[len(r.CallID)-1:]
			}
			if got != c.want || next != "" {
				t.Errorf("%s: %T has %q, want %q; next %q", c.name, from, got, c.want, next)
			}
		}
	}
}

func TestPagesOfRecordsHaveEachOnce(t *testing.T) {
	table, memory := cdrDatabase(t), cdrMemory{}
	for n := range 25 {
		table.put(t, Record(aCall(n/3*3))) // three with the same id: written once
		c := aCall(n / 3 * 3)
		c.ID = fmt.Sprintf("other_%03d", n) // and begun at the same time
		table.put(t, Record(c))
		if n%3 == 0 {
			memory = append(memory, Record(aCall(n)))
		}
		memory = append(memory, Record(c))
	}
	for i, f := range []CDRFilter{{}, {Oldest: true}, {}, {Oldest: true}} {
		from := []cdrReader{table, memory}[i/2]
		seen, cursor, pages := map[string]bool{}, "", 0
		for {
			list, next, err := from.list(t.Context(), &f, cursor, 4, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if seen[r.CallID] {
					t.Errorf("%s comes twice", r.CallID)
				}
				seen[r.CallID] = true
			}
			pages++
			if cursor = next; cursor == "" {
				break
			}
		}
		if len(seen) != 34 || pages != 9 {
			t.Errorf("%d records on %d pages, want 34 on 9", len(seen), pages)
		}
	}
	for _, cursor := range []string{"x", "!", "LjE", strings.Repeat("A", 100)} {
		for _, from := range []cdrReader{table, memory} {
			if _, _, err := from.list(t.Context(), &CDRFilter{}, cursor, 4, 0); err != ErrCDRCursor {
				t.Errorf("cursor %q: %v, want %v", cursor, err, ErrCDRCursor)
			}
		}
	}
}

func TestOldRecordsGo(t *testing.T) {
	table := cdrDatabase(t)
	for n := range 5 {
		table.put(t, Record(aCall(n)))
	}
	before := noon.Add(3*time.Minute + 42*time.Second)
	for _, want := range []int64{2, 1, 0} {
		if n, err := table.expire(t.Context(), before, 2); n != want || err != nil {
			t.Errorf("%d removed, want %d; error %v", n, want, err)
		}
	}
	if list, _, err := table.list(t.Context(), &CDRFilter{}, "", 10, 0); len(list) != 2 || err != nil {
		t.Errorf("%d records are left, want 2; error %v", len(list), err)
	}
	if at, err := table.oldest(t.Context()); !at.Equal(noon.Add(3*time.Minute)) || err != nil {
		t.Errorf("the oldest is of %v, error %v", at, err)
	}
}

// Readers that went ahead of the log are not shown less by a commit that comes late.
func TestTheRingIsAskedForWhatReadersHave(t *testing.T) {
	var r ring
	for n := range int64(10) {
		r.push(&Event{Seq: n + 1})
	}
	for _, c := range []struct{ after, to, want int64 }{{0, 10, 10}, {4, 6, 2}, {6, 4, 0}, {10, 3, 0}, {9, 20, 1}} {
		if got := len(r.between(c.after, c.to)); got != int(c.want) {
			t.Errorf("between %d and %d: %d events, want %d", c.after, c.to, got, c.want)
		}
	}
}
