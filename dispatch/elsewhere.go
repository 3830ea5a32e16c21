package dispatch

import (
	"encoding/json"
	"net/netip"
	"time"

	"sipxrest/sipflow"
)

// Door is the name under which calls are kept with their states.
const Door = "dispatch"

// maxKept bounds what is kept of a call, in bytes. What a decision attaches is left out
// where it would be more: a state that is too long cannot be gone on with.
const maxKept = 16 << 10

// kept is what another node needs to tell of the end of a call.
type kept struct {
	Rule      string              `json:"rule"` // its id
	SIPCallID string              `json:"sip_call_id"`
	Trunk     string              `json:"trunk,omitempty"`
	Source    netip.AddrPort      `json:"source"`
	From      [2]string           `json:"from"` // user and host
	To        [2]string           `json:"to"`
	At        time.Time           `json:"at"`
	Header    map[string][]string `json:"header,omitempty"` // what of it the rule's webhook is told
	Answered  time.Time           `json:"answered,omitzero"`
	InTalk    bool                `json:"in_talk,omitempty"`
	FellBack  bool                `json:"fell_back,omitempty"`
	Decision  *Decision           `json:"decision,omitempty"`
	End       string              `json:"end"` // id of the event that tells of the end
}

// keep has the call be kept with its state, in a cluster.
func (c *call) keep() {
	if c.st.cfg.Kept {
		c.in.Keep(&sipflow.Kept{Door: Door, Record: c.record})
	}
}

// record is sipflow.Kept.Record. It runs in the call's goroutine.
func (c *call) record(dst []byte) []byte {
	k := kept{Rule: c.rule.ID, SIPCallID: c.SIPCallID, Trunk: c.Trunk, Source: c.Source, From: [2]string{c.FromUser, c.FromHost},
		To: [2]string{c.ToUser, c.ToHost}, At: c.At, Answered: c.answered, InTalk: c.inTalk, FellBack: c.fellBack, End: c.endID}
	for _, name := range c.rule.SIPHeaders {
		if values := c.Header(name); len(values) > 0 {
			if k.Header == nil {
				k.Header = map[string][]string{}
			}
			k.Header[name] = values
		}
	}
	if c.decision != nil {
		d := *c.decision
		d.PIN = "" // no secret is kept
		k.Decision = &d
	}
	data, err := json.Marshal(&k)
	if err == nil && len(data) > maxKept {
		if k.Header = nil; k.Decision != nil {
			k.Decision = &Decision{Action: k.Decision.Action, Room: clip(k.Decision.Room), To: clip(k.Decision.To)}
		}
		data, err = json.Marshal(&k)
	}
	if err != nil { // of strings, numbers and what was JSON
		return dst
	}
	return append(dst, data...)
}

// Resume goes on with a call that this node has taken over: its end is told here, under
// the id that the other node would have given that event. It is part of
// sipflow.Config.Resume.
func (d *Dispatcher) Resume(spec *sipflow.Spec, record []byte, joined bool) {
	var k kept
	if json.Unmarshal(record, &k) != nil {
		return
	}
	st := d.now.Load()
	r := st.table.named(k.Rule)
	if r == nil {
		d.log.Warn("an inbound call of another node has a rule that is not known here: its webhook is not told of the end", "call", spec.ID, "rule", k.Rule)
		return
	}
	c := &call{d: d, st: st, rule: r, joined: joined, answered: k.Answered, inTalk: k.InTalk, fellBack: k.FellBack, decision: k.Decision, endID: k.End,
		Call: Call{ID: spec.ID, SIPCallID: k.SIPCallID, Trunk: k.Trunk, Source: k.Source, At: k.At, FromUser: k.From[0], FromHost: k.From[1],
			ToUser: k.To[0], ToHost: k.To[1], Header: func(name string) []string { return k.Header[name] }}}
	c.line = d.events.Line(c.ID)
	d.stats.running.Add(1)
	spec.Kept.Record = c.record
	spec.Observe, spec.LogsEnd = func(e *sipflow.Event) {
		c.observe(e)
		if e.Kind == sipflow.Ended {
			d.stats.running.Add(-1)
		}
	}, true
}
