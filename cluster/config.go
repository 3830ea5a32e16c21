package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Classes of calls: the first byte of a state. Lower ones are taken over first.
const (
	ClassTalking byte = iota // bridged: people are talking
	ClassWaiting             // a caller waits for an answer of ours
	ClassOther               // everything else
)

// What Config.Takeover and Config.WithoutStore say.
const (
	TakeoverKeep   = "keep"   // calls of a dead node go on
	TakeoverHangup = "hangup" // they are hung up
	TakeoverNone   = "none"   // they are left alone: their keys become free
	StoreRefuse    = "refuse" // no new calls without the store
	StoreServe     = "serve"  // new calls also without the store
)

// Config is what a Node needs. Zero values of numbers are the defaults.
type Config struct {
	Name string // of the cluster: the prefix of its streams and subjects
	Node string // of this node; each has its own

	Lease        time.Duration // 4 s: how long a renewal is good for, 2 to 30 s
	Flush        time.Duration // 5 ms: the length of a tick, 1 to 50 ms
	TakeoverRate int           // 500 calls per second that this node takes over; below 0: no limit
	Replicas     int           // of each stream; 0: the engine decides
	Takeover     string        // keep, hangup or none
	WithoutStore string        // refuse or serve

	Version   string        // of this program, shown to the others
	Addresses []string      // of this node, shown to the others
	Files     func() string // hash of the files that must be the same everywhere; nil: none
	Capacity  int           // how many calls this node may have, shown to the others; 0: not said

	// Adopt goes on with a call of another node, or hangs it up. It returns at once, and has done called when that has come to an end:
	// kept, hung_up or lost. From its call on Keep and Drop concern this call as any other.
	Adopt func(ctx context.Context, t Taken, done func(result string, err error))
	// Lost returns what GETs show of a call that nobody goes on with, for TakeoverNone. nil: nothing.
	Lost func(t Taken) (record []byte, keep time.Duration)
	// Kind returns of which flow a state is, and how far its call is, for Stats.Takeovers: few words of each. nil: it is not counted by that.
	Kind func(state []byte) (flow, step string)
	// Forget drops all calls without a word: other nodes have them. It returns when that is done. It may be called by any goroutine
	// of the node, and must not wait for one that waits for the node.
	Forget func()
}

// Taken is a call of another node that is this node's from now on.
type Taken struct {
	ID    string
	Key   string // empty: it has none
	State []byte
	Epoch uint32 // how often the call has been taken over, this time included
	From  string // the node that had it
	Moved bool   // handed over by its owner, which is alive
}

// fill sets defaults and returns what is wrong, naming the key.
func (c *Config) fill() error {
	or := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	or(&c.Lease, 4*time.Second)
	or(&c.Flush, 5*time.Millisecond)
	if c.Name == "" {
		c.Name = "sipxrest"
	}
	if c.TakeoverRate == 0 {
		c.TakeoverRate = 500
	}
	if c.Takeover == "" {
		c.Takeover = TakeoverKeep
	}
	if c.WithoutStore == "" {
		c.WithoutStore = StoreRefuse
	}
	switch {
	case token(c.Name) != c.Name || len(c.Name) > maxName:
		return fmt.Errorf("cluster.name: %q has other characters than letters, digits, - and _, or more than %d", c.Name, maxName)
	case c.Node == "" || len(c.Node) > maxName:
		return fmt.Errorf("cluster.node: %q is empty or has more than %d bytes", c.Node, maxName)
	case c.Lease < 2*time.Second || c.Lease > 30*time.Second:
		return fmt.Errorf("cluster.lease: %v is not between 2s and 30s", c.Lease)
	case c.Flush < time.Millisecond || c.Flush > 50*time.Millisecond:
		return fmt.Errorf("cluster.flush: %v is not between 1ms and 50ms", c.Flush)
	case c.Takeover != TakeoverKeep && c.Takeover != TakeoverHangup && c.Takeover != TakeoverNone:
		return fmt.Errorf("cluster.takeover: %q is not keep, hangup or none", c.Takeover)
	case c.WithoutStore != StoreRefuse && c.WithoutStore != StoreServe:
		return fmt.Errorf("cluster.without-store: %q is not refuse or serve", c.WithoutStore)
	case c.Adopt == nil || c.Forget == nil:
		return errors.New("cluster: Config has no Adopt or no Forget")
	}
	return nil
}
