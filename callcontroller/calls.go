package callcontroller

import (
	"net/http"

	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// Calls is who is told of calls beside the records: the stream of events of all
// calls. What happens to a call once it is placed the switchboard tells itself. The
// methods return at once.
type Calls interface {
	// Expect says that a call is about to be placed, and returns its id.
	Expect(Asked) (id string)
	// Forget says that it was not, unless the switchboard has told of it.
	Forget(id string)
	// HangsUp says that a client is about to have a call hung up.
	HangsUp(id string, who Who)
}

// Asked is what a client asks for.
type Asked struct {
	Agent     string // address of record
	Method    string // of sipflow.Spec
	Subject   string
	RequestID string // the client's, empty if it gave none
}

// Who is the user in whose name a client acts.
type Who struct {
	Agent     string // user name
	Trusted   bool   // a trusted peer, which may act for anybody
	Address   string // from where it asks
	RequestID string
}

// callIDHeader names the call in responses to the requests that place it and that ask
// how it goes. The documents are sipXrest's and have no room for it.
const callIDHeader = "Sipxrest-Call-Id"

// expect has a call be named that is about to be placed, if anybody wants to know of it.
func (c *Controller) expect(spec *sipflow.Spec, req string) {
	if c.cfg.Calls != nil {
		spec.ID = c.cfg.Calls.Expect(Asked{Agent: spec.Key.Agent, Method: spec.Method, Subject: spec.Subject, RequestID: req})
	}
}

// forget says that the call was not placed.
func (c *Controller) forget(id string) {
	if c.cfg.Calls != nil {
		c.cfg.Calls.Forget(id)
	}
}

// hangsUp says who has the call of a key hung up.
func (c *Controller) hangsUp(key sipflow.Key, agent *restauth.User, who order.Client, req string) {
	if c.cfg.Calls == nil {
		return
	}
	if rec := c.records.find(key); rec != nil && rec.id != "" {
		c.cfg.Calls.HangsUp(rec.id, Who{Agent: agent.Name, Trusted: who.Trusted, Address: who.Addr.String(), RequestID: req})
	}
}

// nameCall writes the header field that names a call.
func nameCall(w http.ResponseWriter, id string) {
	if id != "" {
		w.Header()[callIDHeader] = []string{id}
	}
}
