package sipflow

import "sipxrest/sipflow/transport"

// OnWire is a SIP message as Config.Watch is told it.
type OnWire = transport.OnWire
