package sipflow

import "time"

// bridged enters a call into the list of those that can be transferred.
func (sw *Switchboard) bridged(c *Call, b *bridge) bool {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.draining && sw.calls[c.Holds()] != c {
		return false
	}
	sw.bridges[c] = [2]*Leg{b.calling, b.called}
	if c.orders == nil {
		c.orders = make(chan *order)
	}
	c.isUp.Store(true)
	c.connected()
	return true
}

func (sw *Switchboard) unbridged(c *Call) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	c.isUp.Store(false)
	delete(sw.bridges, c)
}

// seated notes which phones are the two ends of a bridge by now.
func (sw *Switchboard) seated(c *Call, b *bridge) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	sw.bridges[c] = [2]*Leg{b.calling, b.called}
}

// moved gives a call the key that it has after a transfer. A call that held
// it is hung up if a client has asked for that; else it keeps the key.
func (sw *Switchboard) moved(c *Call, b *bridge, to Key, asked bool) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	sw.bridges[c] = [2]*Leg{b.calling, b.called}
	from := c.Holds()
	if to == from {
		return
	}
	old := sw.calls[to]
	if sw.calls[from] != c || old != nil && !asked {
		return // it is replaced, and about to end; or the key is another's
	}
	delete(sw.calls, from)
	if old != nil {
		old.stop(ErrReplaced)
	}
	sw.calls[to] = c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved = &to
	c.tell(&Event{Kind: Moved, At: time.Now()})
}
