package talkroom

import (
	"sync"

	"sipxrest/talk"
)

// conversation is one that has phones, or waits for them.
type conversation struct {
	rooms *Rooms
	key
	signal  *talk.Room
	members map[*Room]bool // guarded by Rooms.mu

	mu   sync.Mutex
	list []*Phone
}

func (c *conversation) tell(e Event) {
	c.rooms.mu.Lock()
	var all []func(Event)
	for r := range c.members {
		if r.events != nil {
			all = append(all, r.events)
		}
	}
	c.rooms.mu.Unlock()
	for _, f := range all {
		f(e)
	}
}

func (c *conversation) phones() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.list)
}

func (c *conversation) add(p *Phone) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, p)
}

func (c *conversation) remove(p *Phone) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, q := range c.list {
		if q == p {
			c.list = append(c.list[:i:i], c.list[i+1:]...)
			return
		}
	}
}
