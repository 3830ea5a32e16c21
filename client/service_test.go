package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sipxrest/client"
	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is the whole program behind a door that can be shut: its address stays the
// same while the service starts again.
type service struct {
	t       *testing.T
	cfg     config.Config
	log     *apptest.Log
	signals chan os.Signal
	ended   chan error
	door    net.Listener
	running sync.WaitGroup

	mu    sync.Mutex // guards the next ones
	to    string     // address of the service, "" while there is none
	conns []net.Conn // through the door
	cuts  int        // connections that were cut
}

// serve starts a service for user 201, whose phones do as the script says.
func serve(t *testing.T, phone siptest.Script) *service {
	t.Helper()
	_, proxy := apptest.Phone(t, phone)
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Domain, cfg.DataDir = "sipx.test", filepath.Join(dir, "data")
	cfg.Users = []string{apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)}
	cfg.SIP.Listen, cfg.SIP.OutboundProxy = []string{"udp:127.0.0.1:0"}, []string{"sip:" + proxy}
	cfg.HTTP = []config.HTTPListener{{Listen: "127.0.0.1:0", Auth: "trusted"}}
	cfg.Trusted = []string{"127.0.0.0/8"}
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, cfg: cfg, door: door}
	s.running.Go(s.pass)
	t.Cleanup(func() {
		door.Close()
		s.end()
		s.running.Wait()
	})
	s.begin()
	return s
}

func (s *service) url() string { return "http://" + s.door.Addr().String() }

func (s *service) client() *client.Client {
	s.t.Helper()
	c, err := client.New(client.Config{URL: s.url(), Agent: "201", Attempts: 20})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// begin starts the service.
func (s *service) begin() {
	s.t.Helper()
	s.log = apptest.NewLog()
	a, err := app.New(s.cfg, slog.New(slog.NewTextHandler(s.log, nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.signals, s.ended = make(chan os.Signal), make(chan error, 1)
	go func() { s.ended <- a.Serve(s.signals) }()
	s.log.WaitFor(s.t, "sipxrest serves")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = strings.TrimPrefix(a.Addrs()[0], "http://")
}

// end ends the service, and its calls.
func (s *service) end() {
	s.mu.Lock()
	s.to = ""
	s.mu.Unlock()
	for range 2 {
		select {
		case s.signals <- syscall.SIGTERM:
		case err := <-s.ended:
			s.ended <- err
		}
	}
	if err := <-s.ended; err != nil {
		s.t.Error(err)
	}
	s.cut()
}

// cut ends each connection through the door.
func (s *service) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.cuts += len(s.conns)
	s.conns = nil
}

// pass hands connections to the service.
func (s *service) pass() {
	for {
		in, err := s.door.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		to := s.to
		s.mu.Unlock()
		out, err := net.Dial("tcp", to)
		if to == "" || err != nil {
			in.Close()
			continue
		}
		s.mu.Lock()
		s.conns = append(s.conns, in)
		s.mu.Unlock()
		copied := func(to, from net.Conn) {
			_, _ = io.Copy(to, from)
			to.Close()
			from.Close()
		}
		s.running.Go(func() { copied(out, in) })
		s.running.Go(func() { copied(in, out) })
	}
}

// While calls begin and end, connections are cut and the service starts again. Readers get
// each event once, in order.
func TestNoEventIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	s := serve(t, siptest.Script{})
	c := s.client()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	from, err := c.Cursor(ctx)
	if err != nil {
		t.Fatal(err)
	}
	type read struct {
		ids []string
		err error
	}
	done := make(chan read)
	go func() {
		var r read
		for e, err := range c.Events(ctx, client.EventQuery{After: from}) {
			if r.err = err; err != nil {
				break
			}
			r.ids = append(r.ids, e.ID)
			if e.Type == client.EventTypeCallEnded && e.Data.CallID == "the-last-of-the-calls" {
				break
			}
		}
		done <- r
	}()
	place := func(id string) {
		t.Helper()
		call, err := c.PutCall(ctx, id, client.PutCall{Calling: client.Address("201"), Called: client.Address("202"), OnConflict: "replace"})
		if err != nil {
			t.Fatalf("%s: %v\n%s", id, err, s.log)
		}
		finished := false
		for e, err := range c.CallEvents(ctx, call.ID, client.EventQuery{}) {
			if err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			switch e.Type {
			case client.EventTypeCallCreated, client.EventTypeLegAnswered:
				s.cut()
			case client.EventTypeCallConnected:
				if _, err := c.HangUp(ctx, id); err != nil {
					t.Fatalf("%s: %v", id, err)
				}
			}
			finished = e.Final
		}
		if !finished {
			t.Errorf("%s has no end", id)
		}
	}
	for i := range 4 {
		place(fmt.Sprintf("one-of-the-calls-%d", i))
	}
	s.end()
	s.begin()
	place("the-last-of-the-calls")
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	// The pages are the measure.
	want, after := []string{}, from
	for more := true; more; {
		p, err := c.EventPage(ctx, client.EventQuery{After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Data {
			want = append(want, e.ID)
		}
		after, more = p.Next, p.HasMore
	}
	// Behind the end of the last call there may be more.
	if len(want) < len(got.ids) || !slices.Equal(got.ids, want[:len(got.ids)]) || len(got.ids) < 30 {
		t.Errorf("read\n%q\nthere are\n%q", got.ids, want)
	}
	if s.cuts < 8 {
		t.Errorf("only %d connections were cut", s.cuts)
	}
}

// An order whose answer is lost is repeated, and rings once.
func TestALostAnswerPlacesNoSecondCall(t *testing.T) {
	t.Parallel()
	s := serve(t, siptest.Script{NeverAnswer: true})
	c := s.client()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	// The answer waits for a change that does not come: the cut falls into that time.
	placed := make(chan error, 1)
	var call *client.Call
	go func() {
		var err error
		call, err = c.CreateCall(ctx, client.CreateCall{Calling: client.Address("201"), Called: client.Address("202")},
			client.Wait(3*time.Second))
		placed <- err
	}()
	for e, err := range c.Events(ctx, client.EventQuery{After: "oldest", Types: []string{"leg.ringing"}}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == client.EventTypeLegRinging {
			break
		}
	}
	s.cut()
	if err := <-placed; err != nil {
		t.Fatal(err)
	}
	all := 0
	for _, err := range c.Calls(ctx, client.CallQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		all++
	}
	if all != 1 {
		t.Errorf("%d calls", all)
	}
	held, err := c.Hold(ctx, call.ID, "")
	if !errors.Is(err, client.CodeNotConnected) || held != nil {
		t.Errorf("%+v %v", held, err)
	}
	ended, err := c.HangUp(ctx, call.ID)
	if err != nil || !ended.Changed || ended.ID != call.ID {
		t.Errorf("%+v %v", ended, err)
	}
	// Who asks for some types only reaches the end, too.
	kinds := ""
	for e, err := range c.CallEvents(ctx, call.ID, client.EventQuery{Types: []string{"leg.*"}}) {
		if err != nil {
			t.Fatal(err)
		}
		kinds += string(e.Type) + " "
	}
	if kinds != "leg.dialing leg.ringing leg.ended leg.ended call.ended " {
		t.Errorf("told of %s", kinds)
	}
	record, err := c.RecordOf(ctx, call.ID)
	if err != nil || record.Outcome != client.OutcomeCancelled {
		t.Errorf("%+v %v", record, err)
	}
}
