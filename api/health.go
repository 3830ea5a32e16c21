package api

import (
	"net/http"

	"github.com/gorilla/mux"

	"sipxrest/event"
)

// A Health is how the service fares, as far as the API does not know it itself.
type Health struct {
	Version      string
	Certificates []Certificate
	Limits       []Limit
	TalkServers  []TalkServer
}

// A Certificate is one that the service presents.
type Certificate struct {
	Subject string   `json:"subject"`
	Names   []string `json:"names"`
	Issuer  string   `json:"issuer"`
	// SelfSigned: clients cannot verify it.
	SelfSigned bool       `json:"self_signed"`
	Uses       []string   `json:"uses"` // "http", "sip"
	NotBefore  event.Time `json:"not_before"`
	NotAfter   event.Time `json:"not_after"`
	// LeftMS is how long it is still valid; less than 0 where it is not any more.
	LeftMS int64 `json:"left_ms"`
}

// A Limit is a bound of the whole service, and what of it is in use.
type Limit struct {
	Name string `json:"name"` // the key of the configuration
	Used int    `json:"used"`
	Most *int   `json:"most"` // null: there is none
}

// A TalkServer is a signaling server of Nextcloud Talk, with one of its Nextclouds.
type TalkServer struct {
	Server    string `json:"server"`
	Nextcloud string `json:"nextcloud"`
	Connected bool   `json:"connected"`
	Error     string `json:"error,omitempty"` // of the last attempt
}

// healthDocument is the answer to GET /v1/health.
type healthDocument struct {
	Object  string     `json:"object"` // "health"
	At      event.Time `json:"at"`
	Version string     `json:"version"`
	// Status is "ok", or "draining": no new calls are taken.
	Status string `json:"status"`
	// Checked says that outbound proxies are asked by OPTIONS.
	Checked      bool          `json:"proxies_checked"`
	Proxies      []proxyHealth `json:"proxies"`
	Certificates []Certificate `json:"certificates"`
	Limits       []Limit       `json:"limits"`
	TalkServers  []TalkServer  `json:"talk_servers"`
}

// proxyHealth is one server of an outbound proxy.
type proxyHealth struct {
	Proxy       string     `json:"proxy"` // as sip.outbound-proxy has it
	Transport   string     `json:"transport"`
	Address     string     `json:"address"`
	Up          bool       `json:"up"`
	Since       event.Time `json:"since"`
	CheckedAt   event.Time `json:"checked_at"` // when the last OPTIONS went out
	RoundTripMS *int64     `json:"round_trip_ms"`
	Failure     string     `json:"failure,omitempty"`
}

// healthRoutes name how the service fares.
func (a *API) healthRoutes(to *mux.Router) {
	a.resource(to, "/health", methods{http.MethodGet: {do: a.health, scopes: []Scope{Admin}}})
}

// health says how the service fares, and what it needs of others.
func (a *API) health(w http.ResponseWriter, _ *request) *Problem {
	d := healthDocument{Object: "health", At: event.At(a.cfg.Now()), Status: "ok", Proxies: []proxyHealth{}}
	if a.sw != nil {
		if a.sw.Draining() {
			d.Status = "draining"
		}
		hops := a.sw.Hops()
		d.Checked = len(hops) > 0
		for i := range hops {
			h := &hops[i]
			p := proxyHealth{Proxy: h.Proxy, Transport: h.Hop.Transport, Address: h.Hop.Addr.String(), Up: h.Up,
				Since: event.At(h.Since), CheckedAt: event.At(h.Checked), Failure: clip(h.Failure, 300)}
			if h.Trip > 0 {
				p.RoundTripMS = inMS(h.Trip)
			}
			d.Proxies = append(d.Proxies, p)
		}
	}
	h := Health{}
	if a.cfg.Health != nil {
		h = a.cfg.Health()
	}
	d.Version = h.Version
	d.Certificates, d.Limits, d.TalkServers = orEmpty(h.Certificates), orEmpty(h.Limits), orEmpty(h.TalkServers)
	return send(w, http.StatusOK, d)
}

// orEmpty has a list of none be [], not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
