package cluster

import (
	"errors"
	"fmt"
)

var (
	// ErrNotOwner: this node does not know whether it still owns its calls, so it takes no new ones. HTTP 503 with Retry-After.
	ErrNotOwner = errors.New("cluster: the store is not reached, so new calls are refused")
	// ErrTooLarge: a state or a record has more than MaxState bytes.
	ErrTooLarge = fmt.Errorf("cluster: the state of a call has more than %d bytes", MaxState)
	// ErrBusy: the other node has too many questions already.
	ErrBusy = errors.New("cluster: the other node is busy")
	// ErrUnsure: nobody knows yet whether the other node has the call.
	ErrUnsure = errors.New("cluster: it is not known whether the other node has taken the call")
	// ErrUnknownCall: this node has no such call.
	ErrUnknownCall = errors.New("cluster: this node has no such call")
)

// A HeldError says that another call has the key.
type HeldError struct {
	Key      string
	Node, ID string // who has that call, and its id
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("cluster: the key belongs to call %s of node %s", e.ID, e.Node)
}

// A NameTakenError says that a process with the same cluster.node is alive.
type NameTakenError struct{ Node string }

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("cluster.node: another process has the name %q and is alive: give each node a name of its own", e.Node)
}

// An AskError is what the other node returned in place of an answer.
type AskError struct{ Node, Op, Text string }

func (e *AskError) Error() string {
	return fmt.Sprintf("cluster: %s at node %s: %s", e.Op, e.Node, e.Text)
}
