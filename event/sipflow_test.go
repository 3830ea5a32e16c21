package event

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

// boardFor is a switchboard on a network in memory that tells a bus what happens.
func boardFor(t *testing.T, n *siptest.Network, b *Bus) (board *sipflow.Switchboard, stop func()) {
	t.Helper()
	res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}}) // never asked here
	if err != nil {
		t.Fatal(err)
	}
	board, err = sipflow.New(sipflow.Config{
		Listen:          []string{"udp:10.0.0.1:5060"},
		OutboundProxies: []string{"sip:10.0.0.9"},
		Resolver:        res,
		Network: transport.Network{
			ListenUDP: func(addr string) (transport.PacketConn, error) { return n.Listen(addr), nil },
			ListenTCP: func(addr string) (net.Listener, error) { return n.ListenTCP(addr), nil },
			DialTCP:   func(ctx context.Context, addr string) (net.Conn, error) { return n.DialContext(ctx, "tcp", addr) },
		},
	}, slog.New(slog.DiscardHandler), b.Observe)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- board.Serve(ctx) }()
	return board, func() {
		cancel()
		if err := <-served; err != nil {
			t.Log(err) // a phone that does not respond to CANCEL or BYE
		}
		res.Close()
	}
}

// Calls to phones that do anything, ended by anybody at any moment, each have one end:
// the last event, after those of the legs; and a record. A REFER has no talk time.
func TestCallsToPhonesAtRandomEndOnce(t *testing.T) {
	rounds := 400
	rounds /= share(10)
	r := rand.New(rand.NewPCG(11, 12))
	scripts := []siptest.Script{{}, {Status: 486}, {Status: 603}, {Silent: true}, {NeverAnswer: true}, {Ring: 5 * time.Second}, {Ringing: -1},
		{AnswerOnCancel: true, NeverAnswer: true}, {Status: 404, Ringing: -1}, {EarlyMedia: true, Ring: time.Second}}
	reasonsSeen := map[string]int{}
	for round := range rounds {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			proxy := n.Proxy("10.0.0.9:5060", siptest.ProxyConfig{Domain: "example.com", Users: map[string]string{"201": "", "202": ""},
				Locations: map[string]string{"201": "sip:201@10.0.0.2:5060", "202": "sip:202@10.0.0.3:5060"}, Open: true})
			calling := n.Phone("201", "10.0.0.2:5060", scripts[r.IntN(len(scripts))])
			called := n.Phone("202", "10.0.0.3:5060", scripts[r.IntN(len(scripts))])
			defer func() { calling.Close(); called.Close(); proxy.Close() }()
			b := startBus(t, Config{})
			board, stop := boardFor(t, n, b)
			spec := sipflow.Spec{ID: fmt.Sprint("call-", round),
				Key:    sipflow.Key{Agent: "200@example.com", Calling: "201@example.com", Called: "202@example.com"},
				Method: sipflow.MethodInvite, CallingUser: "201@example.com", CalledUser: "202@example.com", Timeout: 20 * time.Second}
			flow := sipflow.Flow(sipflow.Invite)
			if r.IntN(2) == 0 {
				spec.Method, flow = sipflow.MethodRefer, sipflow.Refer
			}
			if r.IntN(4) == 0 {
				spec.MaxTalk = 7 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			from := b.Head()
			call, err := board.Place(ctx, spec, flow)
			if err == nil {
				time.Sleep(time.Duration(r.IntN(12_000)) * time.Millisecond)
				switch r.IntN(4) {
				case 0:
					call.HangUp(sipflow.ErrHungUpByUser)
				case 1:
					again := spec
					again.ID += "-again"
					again.Method = sipflow.MethodRefer
					if _, err := board.Place(ctx, again, sipflow.Refer); err == nil {
						time.Sleep(time.Second)
					}
				case 2:
					time.Sleep(40 * time.Second)
				}
			}
			stop()
			time.Sleep(time.Minute)
			settle(b)
			calls := map[string][]*Event{}
			for _, e := range all(t, b, Filter{}, from) {
				calls[*e.Data.CallID] = append(calls[*e.Data.CallID], e)
			}
			for id, list := range calls {
				sound(t, list)
				c := list[len(list)-1].Data.Call
				if c.State != Ended {
					t.Fatalf("round %d: %s is %s", round, id, c.State)
				}
				reasonsSeen[c.End.Reason]++
				if _, ok := reasons[c.End.Reason]; !ok || c.End.Message == "" {
					t.Errorf("round %d: %+v", round, c.End)
				}
				if c.End.Outcome == HandedOver && c.TalkMS != nil || c.End.Reason == "internal_error" {
					t.Errorf("round %d: %+v, talk %v", round, c.End, c.TalkMS)
				}
			}
			if n := records(t, b); n != len(calls) {
				t.Errorf("round %d: %d records of %d calls", round, n, len(calls))
			}
			if s := b.Stats(); s.Refused+s.Late > 0 || s.Calls > 0 {
				t.Errorf("round %d: %+v", round, s)
			}
		})
	}
	if len(reasonsSeen) < 6 {
		t.Errorf("only these were seen: %v", reasonsSeen)
	}
	t.Log(reasonsSeen)
}

// Calls that nobody could choose the flow of say so, and by which one they are none the less.
func TestTheFlowOfEachKind(t *testing.T) {
	b := startBus(t, Config{})
	key := sipflow.Key{Agent: "201@example.com", Calling: "201@example.com", Called: "202@example.com"}
	two := []sipflow.LegReport{{N: 1, Role: sipflow.RoleCalling}, {N: 2, Role: sipflow.RoleCalled}}
	for id, c := range map[string]struct {
		spec sipflow.Spec
		legs []sipflow.LegReport
		kind Kind
		flow Flow
	}{
		"by-refer":  {sipflow.Spec{Method: sipflow.MethodRefer}, two, ClickToCall, Flow{Requested: "refer", Used: "refer"}},
		"by-invite": {sipflow.Spec{Method: sipflow.MethodInvite}, two, ClickToCall, Flow{Requested: "invite", Used: "invite"}},
		"dialled":   {sipflow.Spec{Method: sipflow.MethodInvite, Dial: &sipflow.Dialling{}}, two, DialOut, Flow{Used: "invite"}},
		"inbound":   {sipflow.Spec{}, []sipflow.LegReport{{N: 1, Role: sipflow.RoleCaller}}, Inbound, Flow{Used: "invite"}},
	} {
		c.spec.Key = key
		b.Observe(&sipflow.Event{ID: id, Kind: sipflow.Placed, At: time.Now(), Legs: c.legs, Spec: &c.spec})
		waitKept(b)
		if got, ok := b.Call(id); !ok || got.Kind != c.kind || got.Flow != c.flow {
			t.Errorf("%s is %+v", id, got)
		}
	}
}
