package dialout

import (
	"context"

	"sipxrest/dialout/talk"
	"sipxrest/sipflow"
)

// An order is a call as SIP is to make it.
type order struct {
	callID    string
	agent     string // user name, "" for Talk
	number    string // +E.164
	target    string // SIP URI
	caller    string // number, "" for the default one
	anonymous bool
	report    func(happening) // returns at once
}

// A line is a call that was placed. Its functions may be called from any
// goroutine, also when the call is over.
type line struct {
	hangUp func(why error) // returns at once
	dtmf   func(ctx context.Context, digit byte) error
	mute   func(ctx context.Context, f talk.Flags) error
}

// placeBy answers how calls are placed by way of a switchboard.
func placeBy(sw *sipflow.Switchboard, cfg *Config) func(context.Context, *order) (*line, error) {
	return func(ctx context.Context, o *order) (*line, error) { return nil, sipflow.ErrUnreachable }
}
