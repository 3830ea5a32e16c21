package sipflow

import "sipxrest/sipflow/wire"

// authenticate has the caller prove who it is.
func (sw *Switchboard) authenticate(in *Incoming) wire.Reply {
	return wire.Reply{Code: 403}
}
