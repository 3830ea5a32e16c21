package sipflow

import (
	"strings"

	"sipxrest/sipflow/transport"
)

// viaOf is a link whose requests say that another one has sent them, as the CANCEL of an
// INVITE must (RFC 3261 §9.1).
type viaOf struct {
	transport.Link
	network, sentBy string
}

// Local implements transport.Link.
func (v viaOf) Local() (network, sentBy string) { return v.network, v.sentBy }

// ownPath is a path that says who we are.
func ownPath(p transport.Path) transport.Path {
	if v, ok := p.Link.(viaOf); ok {
		p.Link = v.Link
	}
	return p
}

// pathAs is a path that says in Via what the other node's said.
func pathAs(p transport.Path, via string) transport.Path {
	network, sentBy, ok := strings.Cut(via, " ")
	if !ok {
		return p
	}
	return transport.Path{Link: viaOf{p.Link, network, sentBy}, To: p.To}
}
