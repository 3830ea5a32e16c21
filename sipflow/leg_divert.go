package sipflow

// Call.divertible are the legs that a client may have called elsewhere, by the Party that they
// are of. Readers are the clients; the call's goroutine writes.

// mayDivert has the phone's call be one that a client may send elsewhere until the phone
// has answered.
func (l *Leg) mayDivert(who Party) { l.call.divertible[who-CallingParty].Store(l) }

// mayDivertNoMore says that the phone of a party has answered, or is not called any more.
func (c *Call) mayDivertNoMore(who Party) {
	if l := c.divertible[who-CallingParty].Swap(nil); l != nil {
		if d := l.undivert(nil); d != nil {
			d.reply <- ErrAnswered
		}
	}
}

// divert hands the order to the call's goroutine. It is false when that has nobody to
// divert any more.
func (c *Call) divert(who Party, d *diversion) bool {
	at := &c.divertible[who-CallingParty]
	l := at.Load()
	if l == nil {
		return false
	}
	l.inbox.put(event{divert: d}, true)
	return at.Load() == l || l.undivert(d) == nil
}

// undivert takes an order back that nobody has carried out; nil stands for any.
func (l *Leg) undivert(d *diversion) *diversion {
	e, _ := l.inbox.pick(func(e *event) bool { return e.divert != nil && (d == nil || e.divert == d) })
	return e.divert
}

// diverts reports whether a phone was given up for another one, which is to be called in
// its place.
func (c *Call) diverts(who Party, err error) bool {
	d := diversionOf(err)
	if d == nil {
		return false
	}
	c.kept().users[who-CallingParty] = d.target
	d.reply <- nil
	return true
}

// user is whom the call of a party goes to: user@host as it goes on the wire.
func (c *Call) user(who Party) string {
	if c.past != nil && c.past.users[who-CallingParty] != "" {
		return c.past.users[who-CallingParty]
	}
	if who == CallingParty {
		return c.CallingUser
	}
	return c.CalledUser
}
