package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/internal/webhook"
	"sipxrest/media/attendant"
	"sipxrest/sipflow"
)

// Inbound is what has a switchboard hand its calls to d. realm is that of the
// users' SIP secrets.
func (d *Dispatcher) Inbound(realm string) *sipflow.Inbound {
	return &sipflow.Inbound{Realm: realm, Algorithms: d.algorithms, Admit: d.admit, Secrets: d.secrets, User: d.User, Trunk: d.trunk, LogsEnd: true, NewID: newID, Take: d.take}
}

// admit lets calls of trunks in, and has all others prove who they are.
func (d *Dispatcher) admit(in *sipflow.Incoming) sipflow.Admission {
	st := d.now.Load()
	if t, prove := st.trunkOf(in.Source.Addr(), in.From.Host, ""); t != nil && !prove {
		return sipflow.Trusted
	}
	return sipflow.Challenge
}

// secrets are those of a trunk's digest user, or of a user of ours.
func (d *Dispatcher) secrets(username string) (sipflow.Credentials, bool) {
	st := d.now.Load()
	for i := range st.trunks {
		if t := &st.trunks[i]; t.Username == username && t.Credentials != (sipflow.Credentials{}) {
			return t.Credentials, true
		}
	}
	if st.cfg.Secrets == nil {
		return sipflow.Credentials{}, false
	}
	return st.cfg.Secrets(username)
}

// User is the user of ours that a digest username has proved. The user of a
// trunk is none: its callers are many.
func (d *Dispatcher) User(username string) string {
	st := d.now.Load()
	if st.cfg.Secrets == nil || slices.ContainsFunc(st.trunks, func(t trunk) bool { return t.Username == username }) {
		return ""
	}
	credentials, _ := st.cfg.Secrets(username)
	return credentials.Username
}

// trunk is the one that a call which is admitted is of, and how many it may have.
func (d *Dispatcher) trunk(in *sipflow.Incoming) (name string, most int) {
	t, prove := d.now.Load().trunkOf(in.Source.Addr(), in.From.Host, in.Username)
	if t == nil || prove {
		return "", 0
	}
	return t.Name, t.MaxCalls
}

// secretOfTrunk reports whether a digest user is one whose secret is a trunk's.
// Such a user is nobody where the trunk's calls do not come from.
func (st *state) secretOfTrunk(username string) bool {
	return username != "" && slices.ContainsFunc(st.trunks, func(t trunk) bool {
		return t.Username == username && t.Credentials != (sipflow.Credentials{})
	})
}

// call is an inbound call that has a rule. Its fields are those of the call's
// goroutine.
type call struct {
	Call
	d    *Dispatcher
	st   *state
	in   *sipflow.Incoming
	rule *rule
	line *webhook.Line
	log  *slog.Logger

	decision *Decision // the latest
	fellBack bool
	denied   bool      // by a policy, so that the fallback was taken
	asked    time.Time // when the latest decision was begun
	counted  bool
	held     bool                 // answered, before it is connected
	ears     *attendant.Attendant // of one who is asked for a PIN; nil: there are none
	joined   bool
	inTalk   bool      // its target is in Nextcloud Talk
	answered time.Time // our 200
	endID    string    // id of the event that tells of the end
}

// take is sipflow.Inbound.Take.
func (d *Dispatcher) take(ctx context.Context, in *sipflow.Incoming) error {
	d.stats.running.Add(1)
	defer d.stats.running.Add(-1)
	c, err := d.begin(in)
	if c == nil {
		return err
	}
	in.Observe(c.observe)
	c.keep()
	defer c.hush()
	in.SetPolicy(c.rule.Policy) // applies to the numbers the caller asks us to transfer to as well
	decision := c.rule.Static
	c.asked = time.Now()
	if decision == nil {
		if decision, err = c.ask(ctx, c.rule.message(&c.Call, eventInvite)); err != nil && ctx.Err() != nil {
			d.count(c, OutcomeCancelled)
			return context.Cause(ctx)
		}
	}
	return c.carryOut(ctx, decision)
}

// begin finds the rule of a call, or refuses it.
//
//go:noinline
func (d *Dispatcher) begin(in *sipflow.Incoming) (*call, error) {
	st := d.now.Load()
	c := &call{d: d, st: st, in: in, endID: newID(), Call: Call{ID: idOf(in), SIPCallID: in.CallID, Source: in.Source, At: in.At, Header: in.Header,
		FromUser: in.From.User, FromHost: in.From.Host, ToUser: in.To.User, ToHost: in.To.Host}}
	t, prove := st.trunkOf(in.Source.Addr(), in.From.Host, in.Username)
	switch {
	case t != nil && !prove:
		c.Trunk = t.Name
	case t == nil && st.secretOfTrunk(in.Username):
		d.stats.decided[OutcomeForged].Add(1)
		c.refuses(WrongName)
		return nil, c.refuse(403, "Wrong Identity", errForeignTrunk, slog.String("user", in.Username))
	case in.Username != "" && st.cfg.Owns != nil && !st.cfg.Owns(in.Username, in.From.User):
		d.stats.decided[OutcomeForged].Add(1)
		c.refuses(WrongName)
		return nil, c.refuse(403, "Wrong Identity", errForeignName, slog.String("user", in.Username)) // RFC 4474 has it as 438, which fewer know
	}
	if c.rule = st.table.find(&c.Call); c.rule == nil {
		d.stats.decided[OutcomeNoRule].Add(1)
		c.refuses(ByRule)
		return nil, c.refuse(codeNoRule, "", errNoRule)
	}
	c.log = d.log.With("call", c.ID, "calling", clip(c.FromUser+"@"+c.FromHost), "called", clip(c.ToUser+"@"+c.ToHost),
		"peer", in.Source.Addr().Unmap().String(), "call_ids", []string{clip(c.SIPCallID)}, "trunk", c.Trunk, "rule", c.rule.ID)
	c.line = d.events.Line(c.ID)
	return c, nil
}

// Why a call is refused before anybody is asked.
var (
	errNoRule       = errors.New("no rule is for it")
	errForeignName  = errors.New("the user calls in the name of another")
	errForeignTrunk = errors.New("the trunk of this digest user has neither this source nor this From host: see its sources and from-hosts")
)

// refuse refuses a call for which there is no rule, and has its end logged.
func (c *call) refuse(code int, reason string, why error, more ...slog.Attr) error {
	c.in.Observe(func(e *sipflow.Event) {
		if e.Kind == sipflow.Ended {
			e.End.Err = why
			c.logEnd(e, append(more, slog.Int("code", code))...)
		}
	})
	return c.in.Refuse(code, reason)
}

// logEnd logs the end of the call, with more of our own.
func (c *call) logEnd(e *sipflow.Event, more ...slog.Attr) {
	end := *e.End
	end.Flow = "dispatch"
	end.Key.Calling, end.Key.Called = clip(end.Key.Calling), clip(end.Key.Called)
	for i, id := range end.CallIDs {
		end.CallIDs[i] = clip(id)
	}
	if c.inTalk {
		end.Mask()
	}
	ours := []slog.Attr{slog.String("call", c.ID)}
	if c.Trunk != "" {
		ours = append(ours, slog.String("trunk", c.Trunk))
	}
	if c.rule != nil {
		ours = append(ours, slog.String("rule", c.rule.ID))
	}
	c.d.log.LogAttrs(context.Background(), slog.LevelInfo, sipflow.EndText, end.Attrs(append(ours, more...)...)...)
}

// ask has the webhook decide. When it fails, that is logged and the decision is
// the rule's fallback; the error is told too.
func (c *call) ask(ctx context.Context, m *webhook.Message) (*Decision, error) {
	start := time.Now()
	decision, err := c.decide(ctx, m)
	c.d.stats.time(time.Since(start))
	if err != nil {
		if ctx.Err() == nil {
			c.fallBack(err)
		}
		return &c.rule.Fallback, err
	}
	return &decision, nil
}

// decide asks the webhook. A caller that has audio is responded to meanwhile: with
// nobody else its phone is in a conversation.
func (c *call) decide(ctx context.Context, m *webhook.Message) (decision Decision, err error) {
	if c.ears == nil {
		return c.rule.decide(ctx, m)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		decision, err = c.rule.decide(ctx, m)
	}()
	if c.in.Wait(ctx, done) != nil { // the call is over
		stop()
		<-done
	}
	return decision, err
}

// fallBack notes that the rule's fallback is taken.
func (c *call) fallBack(why error) {
	c.fellBack = true
	c.log.Warn("inbound call: the fallback is taken", "fallback", c.rule.Fallback.Action.String(), "error", why)
	c.d.count(c, OutcomeFallback)
}

// count counts what was decided on a call, once.
func (d *Dispatcher) count(c *call, o Outcome) {
	if !c.counted {
		c.counted = true
		d.stats.decided[o].Add(1)
	}
}

// carryOut does what was decided. A target that fails may lead to another
// decision.
func (c *call) carryOut(ctx context.Context, decision *Decision) error {
	for attempt := 1; ; {
		c.decision = decision
		p, err := c.st.plan(&c.rule.Rule, decision, false)
		if err == nil {
			c.routed(p, time.Since(c.asked))
		}
		switch {
		case err != nil && decision == &c.rule.Fallback:
			c.log.Warn("inbound call: the fallback cannot be taken", "error", err)
			c.refuses(NoDecision)
			return c.in.Refuse(codeFallback, "")
		case err != nil:
			c.denied = p.denied
			c.fallBack(err)
			decision = &c.rule.Fallback
			continue
		case !p.Media.allows(c.in.Offer()):
			c.d.count(c, OutcomeMedia)
			c.refuses(ByMedia)
			return c.in.Refuse(codeMedia, "")
		case p.Action == Hangup:
			c.d.count(c, OutcomeHangup)
			c.refuses(c.hangsUp())
			return c.in.Refuse(p.Code, p.Reason)
		case p.Action == Transfer && c.rule.Redirect && !c.held:
			c.d.count(c, OutcomeRedirect)
			c.refuses(Redirected)
			return c.in.Redirect(p.uri)
		}
		if p.PIN != "" {
			next, err := c.enterPIN(ctx, p)
			if err != nil {
				return err
			}
			if next != nil {
				decision = next
				continue
			}
		}
		if p.Action == Answer {
			c.d.count(c, OutcomeAnswer)
		} else {
			c.d.count(c, OutcomeTransfer)
		}
		c.ringBack()
		err = c.connect(ctx, p)
		if err == nil || c.joined || ctx.Err() != nil {
			return err
		}
		c.silence()
		event := TargetFailed
		if p.Action == Transfer {
			event = TransferFailed
		}
		c.log.Info("inbound call: the target was not reached", "target", shown(p.uri), "error", err)
		if c.rule.Decide&event == 0 || attempt >= maxAttempts>>c.in.Rounds() {
			c.tell(event, func(m *webhook.Message) { c.addFailure(m, p, err) })
			return err
		}
		attempt++
		c.asked = time.Now()
		m := c.rule.message(&c.Call, event.names()[0])
		c.addFailure(m, p, err)
		c.attach(m)
		if decision, err = c.ask(ctx, m); err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// maxAttempts bounds the targets that one call is connected to after another.
// Each time that the call has come by here before halves it: targets that lead
// back here would multiply otherwise.
const maxAttempts = 5

// connect calls the target and stays until the call is over.
func (c *call) connect(ctx context.Context, p plan) error {
	if name, ok := phoneName(p.uri); ok {
		return c.st.cfg.Phone(ctx, c.in, name, p.ring())
	}
	if t, ok := c.talkCall(p.uri); ok {
		c.inTalk = true
		return c.st.cfg.Talk(ctx, c.in, t)
	}
	to := sipflow.Destination{URI: p.uri, DisplayName: p.DisplayName, RingTime: p.ring(), Trusted: p.ours}
	agent, g := c.st.cfg.Agent, &c.st.cfg.Gateway
	switch {
	case p.gateway:
		to.Credentials, to.Realm, to.Gateway = g.Credentials, g.Realm, g.URI
	case agent != "" && c.st.cfg.Secrets != nil:
		to.Credentials, _ = c.st.cfg.Secrets(agent)
	}
	return c.in.Connect(ctx, to)
}

// addFailure says why a target was not reached.
func (c *call) addFailure(m *webhook.Message, p plan, err error) {
	code, reason := statusOf(err)
	m.Add("sip_code", code)
	m.AddText("sip_reason", reason)
	m.Add("outcome", sipflow.OutcomeOf(err).String())
	m.Add("target", shown(p.uri))
}

// statusOf is the final response that an error stands for.
func statusOf(err error) (code int, reason string) {
	var refused *sipflow.StatusError
	switch {
	case errors.As(err, &refused):
		return refused.Code, refused.Reason
	case errors.Is(err, sipflow.ErrNoAnswer):
		return 408, "No Answer"
	case errors.Is(err, sipflow.ErrForbidden):
		return 403, "Not Allowed"
	}
	return 503, "Unreachable"
}

// attach adds what the decision attaches to the call.
func (c *call) attach(m *webhook.Message) {
	d := c.decision
	if d == nil {
		return
	}
	m.AddText("dispatch_action", d.Action.String())
	m.AddText("room_name", d.Room)
	m.AddText("metadata", d.Metadata)
	if len(d.Attributes) > 0 {
		m.Add("attributes", d.Attributes)
	}
	m.AddText("room_preset", d.RoomPreset)
	if len(d.RoomConfig) > 0 {
		m.Add("room_config", d.RoomConfig)
	}
	if len(d.Krisp) > 0 {
		m.Add("krisp_enabled", d.Krisp)
	}
	if d.Action == Transfer {
		m.Add("transfer_to", shown(d.To))
	}
}

// tell queues an event, if the rule wants it.
func (c *call) tell(e Events, add func(*webhook.Message)) {
	if c.rule.Events&e == 0 {
		return
	}
	name := e.names()[0]
	m := c.rule.message(&c.Call, name)
	m.Add("time", stamp(time.Now()))
	add(m)
	c.attach(m)
	id := newID()
	if e == Ended {
		id = c.endID
	}
	c.line.Put(&webhook.Event{Client: c.rule.client, Address: cmp.Or(c.rule.EventsURL, c.rule.URL), From: c.rule.ID, ID: id, Name: name, Message: m})
}

// lost logs an event that does not arrive.
func (d *Dispatcher) lost(callID string, e *webhook.Event, err error) {
	if errors.Is(err, webhook.ErrDropped) {
		d.log.Warn("event of an inbound call dropped: too many wait, or the service ends", "call", callID, "event", e.Name)
		return
	}
	d.log.Warn("event of an inbound call not delivered", "call", callID, "rule", e.From, "event", e.Name, "error", err)
}

// stamp writes a time as exactly as it is known (RFC 3339).
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z07:00") }

// observe is told what happens to the call, in the call's goroutine.
func (c *call) observe(e *sipflow.Event) {
	switch e.Kind {
	case sipflow.Answered:
		if c.answered.IsZero() {
			c.answered = e.At
		}
	case sipflow.Joined:
		if c.in == nil && c.joined { // the node that had the call has told that
			return
		}
		c.joined = true
		if c.in != nil {
			c.in.Call().Changed() // so that others know when it was answered
			c.hush()
		}
		c.tell(Answered, func(m *webhook.Message) {
			m.Add("answered_at", stamp(c.answered))
			m.Add("joined_at", stamp(e.At))
			m.Add("sip_code", 200)
		})
	case sipflow.Ended:
		c.ended(e)
	}
}

// ended tells of the end of the call, and logs it.
func (c *call) ended(e *sipflow.Event) {
	if errors.Is(e.Err, sipflow.ErrForgotten) { // it goes on at another node
		c.d.log.Debug("a call goes on at another node", "call", c.ID)
		return
	}
	outcome := sipflow.OutcomeOf(e.Err).String()
	if c.joined {
		outcome = sipflow.OutcomeConnected.String()
	}
	by := [...]string{"service", "caller", "target"}[e.By]
	talked := time.Duration(0)
	if !c.answered.IsZero() {
		talked = e.At.Sub(c.answered)
	}
	code := e.Code
	if code == 0 {
		code = 487 // it gave up
	}
	c.tell(Ended, func(m *webhook.Message) {
		m.Add("started_at", stamp(c.At))
		if !c.answered.IsZero() {
			m.Add("answered_at", stamp(c.answered))
		}
		m.Add("ended_at", stamp(e.At))
		m.Add("duration", talked.Seconds())
		m.Add("sip_code", code)
		m.Add("ended_by", by)
		m.Add("outcome", outcome)
	})
	more := []slog.Attr{slog.Int("code", int(code)), slog.Duration("duration", talked)}
	if d := c.decision; d != nil {
		more = append(more, slog.String("action", d.Action.String()))
		for _, m := range [][2]string{{"room", d.Room}, {"transfer_to", shown(d.To)}, {"metadata", clip(d.Metadata)}} {
			if m[1] != "" {
				more = append(more, slog.String(m[0], m[1]))
			}
		}
		if len(d.Attributes) > 0 {
			more = append(more, slog.String("attributes", clip(attributeText(d.Attributes))))
		}
	}
	if c.fellBack {
		more = append(more, slog.Bool("fallback", true))
	}
	c.logEnd(e, more...)
}

// maxLogged bounds a text in a log line, in bytes.
const maxLogged = 512

// clip keeps a log line short.
func clip(s string) string { return limit.Clip(s, maxLogged) }

func attributeText(attributes map[string]string) string {
	names := make([]string, 0, len(attributes))
	for name := range attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	text := ""
	for _, name := range names {
		text += fmt.Sprintf("%s=%s ", name, attributes[name])
	}
	return text
}
