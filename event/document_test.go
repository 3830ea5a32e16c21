package event

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"sipxrest/docs/docstest"
)

const describedAs = "openapi.yaml#/components/schemas/"

func documents(t *testing.T) *docstest.Schemas {
	t.Helper()
	return docstest.ReadSchemas(t, "../api/openapi.yaml", "../api/asyncapi.yaml")
}

func TestMembersAreDescribed(t *testing.T) {
	s := documents(t)
	for name, typ := range map[string]reflect.Type{
		"Call": reflect.TypeFor[Call](), "TransferOfCall": reflect.TypeFor[Transfer](), "Created": reflect.TypeFor[Created](),
		"Webhook": reflect.TypeFor[Webhook](), "Delivery": reflect.TypeFor[Delivery](), "WebhookTestResult": reflect.TypeFor[TestResult](),
		"WebhookNews": reflect.TypeFor[webhookChange](),
	} {
		s.Struct(t, describedAs+name, typ)
	}
	s.Struct(t, describedAs+"Event", reflect.TypeFor[Event](),
		"event.Event.skipped", "event.Event.truncated", "event.Change.state", "event.Change.end")

	columns := slices.Sorted(slices.Values(ColumnNames()))
	if diff := cmp.Diff(columns, s.Members(describedAs+"Record")); diff != "" {
		t.Errorf("columns of a record:\n%s", diff)
	}
}

func TestWordsAreDescribed(t *testing.T) {
	s := documents(t)
	for name, typ := range map[string]string{"Kind": "Kind", "Source": "Source", "State": "State", "LegState": "LegState", "Role": "Role",
		"Outcome": "Outcome", "EventType": "Type"} {
		if diff := cmp.Diff(docstest.Constants(t, ".", typ), s.Enum(describedAs+name)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(reasons)), s.Enum(describedAs+"Reason")); diff != "" {
		t.Errorf("reasons:\n%s", diff)
	}
	if diff := cmp.Diff(docstest.Constants(t, "../sipflow", "Stage"), s.Enum(describedAs+"Stage")); diff != "" {
		t.Errorf("stages:\n%s", diff)
	}
}

func TestRecordsAreAsDescribed(t *testing.T) {
	s := documents(t)
	for name, r := range map[string]*CDR{
		"whole": Record(aCall(1)),
		"hardly anything": {CallID: "call_1", Kind: Inbound, Source: FromDispatch, Termination: "U", Outcome: Unknown,
			Reason: "service_restarted"},
	} {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(describedAs+"Record", data); err != nil {
			t.Errorf("%s: %s: %v", name, data, err)
		}
	}
}

// Every type of event is written as it is described, with the call and without it.
func TestEventsAreAsDescribed(t *testing.T) {
	s := documents(t)
	synctest.Test(t, func(t *testing.T) {
		b := startBus(t, Config{})
		sub := b.Subscribe(Filter{DTMF: true, Types: []string{"*"}})
		defer sub.Close()
		talk(t, b, "call-1")
		tellTheRest(t, b, "call-2")
		n := int64(3)
		b.Announce(SystemDraining, Change{})
		b.Announce(StreamGap, Change{From: b.Head().String(), To: b.Head().String(), Count: n})
		for _, typ := range []Type{WebhookTest, WebhookDisabled, WebhookRecovered} {
			b.Announce(typ, Change{Webhook: json.RawMessage(`{"id":"wh_1","name":"crm","origin":"api","state":"failing"}`)})
		}
		synctest.Wait()
		list, _, err := b.Events(Filter{}, b.Oldest(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, sub.Digits()...)
		list = append(list, takenOver(t)...)
		seen := map[string]bool{}
		for _, e := range list {
			seen[string(e.Type)] = true
			schema := "asyncapi.yaml#/components/schemas/" + strings.ReplaceAll(string(e.Type), ".", "_")
			for _, text := range [][]byte{b.Encoded(e), b.EncodedChange(e)} {
				if err := s.Validate(schema, text); err != nil {
					t.Errorf("%s: %v", text, err)
				}
				if err := s.Validate(describedAs+"Event", text); err != nil {
					t.Errorf("%s: %v", text, err)
				}
			}
			for _, with := range []bool{true, false} {
				if err := s.Validate(describedAs+"CloudEvent", CloudEvent(e, with)); err != nil {
					t.Errorf("%s: %v", CloudEvent(e, with), err)
				}
			}
		}
		if diff := cmp.Diff(s.Enum(describedAs+"EventType"), slices.Sorted(maps.Keys(seen))); diff != "" {
			t.Errorf("types that are described, and seen:\n%s", diff)
		}
	})
}

// takenOver are the events of a cluster's call that another node goes on with.
func takenOver(t *testing.T) []*Event {
	m := newMemoryStream()
	x, y := startNode(t, "a", m), startNode(t, "b", m)
	half(t, x.Bus, "call-3")
	levelOff(t, x, y)
	x.kill()
	y.Observe(resumed("call-3"))
	levelOff(t, y)
	return all(t, y.Bus, Filter{}, y.Oldest())
}

// tellTheRest tells what does not happen to an ordinary call.
func tellTheRest(t *testing.T, b *Bus, id string) {
	t.Helper()
	if err := b.Begin(Request{ID: id, Created: Created{Kind: Inbound, Source: FromDispatch, Agent: "201@example.com",
		Metadata: json.RawMessage(`[1]`), Legs: []Leg{{Role: RoleCaller, Address: "+49301234567"},
			{Role: RoleTarget, Address: "202@example.com"}}}}); err != nil {
		t.Fatal(err)
	}
	refused := &Status{Code: 405, Reason: "Method Not Allowed", Method: "REFER"}
	why := "the calling phone refused REFER"
	b.Tell(id, CallRouted, "", Change{Rule: "office", Decision: "dial", Target: "202", TookMS: 12})
	b.Tell(id, CallFlowChanged, "", Change{From: "refer", To: "invite", SIP: refused,
		Flow: &Flow{Requested: "refer", Used: "invite", Fallback: &why}})
	b.Tell(id, LegDialled, "l2", Change{Hop: "udp:192.0.2.10:5060", SIPCallID: "a@b",
		Tried: []Tried{{Hop: "udp:192.0.2.9:5060", Why: "no answer"}}})
	b.Tell(id, LegRedirected, "l2", Change{From: "202", To: "203", SIP: &Status{Code: 302}})
	b.Tell(id, LegRang, "l2", Change{RingingBy: "183", EarlyMedia: true})
	b.Tell(id, LegPickedUp, "l2", Change{Contact: "sip:202@192.0.2.77"})
	for _, typ := range []Type{LegHeld, LegResumed, LegMuted, LegUnmuted} {
		b.Tell(id, typ, "l2", Change{By: "client"})
	}
	b.Tell(id, LegDTMF, "l2", Change{Digit: "5"})
	b.Tell(id, CallUpdated, "", Change{Tags: map[string]string{}, Metadata: json.RawMessage(`"x"`)})
	for i, course := range [][]Type{
		{TransferStarted, TransferRinging, TransferConsulting, TransferCompleted}, {TransferStarted, TransferFailed},
		{TransferStarted, TransferCancelled},
	} {
		tr := Transfer{ID: "t" + string(rune('1'+i)), Mode: "attended", Leaver: "caller", To: "203", StartedAt: At(noon)}
		for _, typ := range course {
			tr.State = strings.Replace(strings.TrimPrefix(string(typ), "transfer."), "started", "dialing", 1)
			if terminal(tr.State) {
				tr.EndedAt, tr.End = At(noon), &TransferEnd{Reason: "busy", SIP: &Status{Code: 486}, Message: "203 is busy."}
			}
			now := tr
			b.Tell(id, typ, "", Change{Transfer: &now})
		}
	}
	b.Tell(id, CallReleased, "", Change{Knowledge: &Knowledge{Level: "setup", Until: At(noon), Text: "REFER"}, FinalBy: At(noon)})
	b.Tell(id, CallEnded, "", Change{End: &End{Reason: "handed_over"}, Merged: "call-1"})
}
