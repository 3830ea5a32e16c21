package config

import (
	"os"
	"time"

	"sipxrest/internal/setting"
	"sipxrest/policy"
)

// Config is everything that an operator can set: sipxrest.yaml, SIPXREST_…
// variables and flags all fill it. Default returns the values that hold when
// nothing is set.
type Config struct {
	// Domain is the SIP domain whose users call. Required.
	Domain string
	// Realm is the digest realm of PINs and SIP secrets. Empty: the domain.
	Realm string
	// DataDir holds what the service keeps: the self-signed certificate, the users
	// of calls over WebSocket, notes of calls to telephones, the control socket.
	DataDir string
	SIP     SIP
	HTTP    []HTTPListener
	// Trusted lists networks, addresses and the word "domain" (the domain's
	// SIP proxies): who needs no PIN.
	Trusted []string
	// ReverseProxies lists the networks and addresses from which
	// X-Forwarded-For is believed.
	ReverseProxies []string
	// AllowedOrigins lists the browser pages ("https://portal.example") that may call.
	AllowedOrigins []string
	// HTTPNames lists further names by which browsers may call; "*": any.
	HTTPNames []string
	// AllowPinless lets users without a PIN in with any PIN.
	AllowPinless bool
	// Users names the files with the users, YAML lists or validusers.xml, and the URLs
	// of databases, which may hold a password: UsersFrom is for people.
	Users []string
	// Policy names what everybody may dial. Empty: everything.
	Policy string
	// Policies are those that are not ready-made, by name.
	Policies map[string][]policy.Rule
	// PolicyUsers are the policies of single users, by user name or alias.
	PolicyUsers map[string]string
	// Dial says how numbers are dialled, that policies know them.
	Dial   policy.Dial
	Call   Call
	Refer  Refer
	Limits Limits
	Log    Log
	// Metrics says where Prometheus and probes look; off by default.
	Metrics Metrics
	// Trace says where traces of calls go; off by default.
	Trace Trace
	// Drain is how long calls in progress may go on after SIGTERM.
	Drain time.Duration
	// Dialout says how the telephone network is called; off by default.
	Dialout Dialout
	// Dialin says how callers get into conversations of Talk.
	Dialin Dialin
	// Dispatch says what becomes of calls that come in.
	Dispatch Dispatch
	// Phone is calls over WebSocket; off by default.
	Phone Phone
	// API is version 1 of the JSON interface, Events the log of what happens to calls.
	API    API
	Events Events
	// Console is the page at /console.
	Console Console
	// CDR is records of calls that are over.
	CDR CDR
	// Cluster is other nodes; off by default. Store is what `sipxrest store` runs by.
	Cluster Cluster
	Store   Store
	// DNS names the servers to ask instead of those of the system, "host:port".
	DNS DNS

	// Again reads the configuration once more, from the same sources. nil: there
	// is nothing to read.
	Again func() (Config, error)

	// origin says where a key was set ("sipxrest.yaml:7"), for messages.
	origin map[string]string
	// sources names the files and folders that were read, for messages.
	sources []string
	// usersHint says why a sipX installation brought no users.
	usersHint string
}

// SIP is the section "sip".
type SIP struct {
	// Listen lists the sockets, "udp:192.0.2.1:6050", "tcp:…", "tls:…", "ws:…"
	// or "wss:…". Empty: port
	// 6050 on the machine's own address, UDP and TCP.
	Listen []string
	// OutboundProxy lists SIP URIs; every request goes to the first that
	// answers. Empty: RFC 3263 on the domain.
	OutboundProxy []string
	// ExternalAddress is the host that Via and Contact show when the socket's
	// own address cannot be reached from the phones (NAT). "auto": the one
	// under which the outbound proxies see it.
	ExternalAddress string
	// NAT sends requests for a phone whose Contact is a private address to
	// where its messages come from.
	NAT bool
	// UserAgent is the User-Agent header field.
	UserAgent string
	// TLS is for sockets "tls:" and "wss:" and for servers reached so.
	TLS SIPTLS
	// WSPath is the path of the WebSocket servers that are connected to.
	WSPath string
	Health Health
}

// Health is the section "sip.health": the OPTIONS that each server of the
// outbound proxies gets.
type Health struct {
	Interval time.Duration // between two; 0: none are sent
	Timeout  time.Duration // for the answer to one
	// User is the user in whose name they are sent. Empty: nobody's.
	User string
}

// HTTPListener is one item of "http".
type HTTPListener struct {
	// Listen is "host:port"; an empty host means every address.
	Listen string
	// TLS is nil for plain HTTP.
	TLS *TLS
	// Auth is a policy: "trusted-or-pin" (default on TLS), "pin" (default on
	// plain HTTP) or "trusted".
	Auth string
}

// TLS names a listener's certificate. Empty Cert and Key: a self-signed one
// that is made once and kept in the data directory.
type TLS struct {
	Cert, Key string // PEM files
	// MinVersion is the oldest TLS version accepted, "1.0" to "1.3". Empty: "1.2".
	MinVersion string
}

// Call is the section "call": defaults of the request parameters.
type Call struct {
	Timeout         time.Duration // how long the calling phone is alerted
	ResultCacheTime time.Duration // how long a finished call's record is kept
	// AutoAnswer is how the agent's phone is asked to answer by itself:
	// "answer-mode", "call-info" or "alert-info"; "off": it is not.
	AutoAnswer string
	// FollowRedirects follows 3xx responses in every call, not only in those
	// with isForwardingAllowed.
	FollowRedirects bool
}

// Refer is the section "refer".
type Refer struct {
	// HangUpOn says which NOTIFY makes us hang up the calling phone's leg:
	// "progress" (180, 183 or the end) or "outcome" (only the end).
	HangUpOn string
	// Fallback bridges the call ourselves when the phone refuses REFER.
	Fallback bool
}

// Limits is the section "limits".
type Limits struct {
	Calls       int // calls at once
	Records     int // records of calls, running and finished
	RecordBytes int // bytes that the records' status lines take
	Connections int // HTTP connections at once, on each listener
	// ConnectionsPerAddress is the share of one address. 0: a quarter.
	ConnectionsPerAddress int

	// Of the following 0 is no limit.

	CallsPerUser    int // calls at once of one user who has given his PIN
	CallRatePerUser int // calls and transfers that he attempts per second
	CallRate        int // those of all
	// RequestsPerUser is the requests to the API per second of one user or one key,
	// CallRatePerKey the calls per second that one key asks for.
	RequestsPerUser, CallRatePerKey int
	// MessageDelay is how long SIP messages may wait until they are handled, before
	// a share of new calls is refused.
	MessageDelay time.Duration
	// CallRatePerPair is the calls per second that come in from one caller for
	// one callee.
	CallRatePerPair int
	// SIPRatePerAddress is the SIP requests per second outside of calls from one
	// address that is no SIP server of ours and no trusted peer; SIPRate that
	// from all such.
	SIPRatePerAddress, SIPRate int
	// DialogRate is the SIP requests per second of one phone in a call.
	DialogRate int
	// SIPConnectionsPerAddress is the connections that one such address has open.
	SIPConnectionsPerAddress int
}

// Log is the section "log".
type Log struct {
	Level  string // debug, info, warn or error
	Format string // text or json
	Calls  bool   // a line for every call, not only for those that came to nothing
}

// Metrics is the section "metrics".
type Metrics struct {
	// Listen is the "host:port" of /metrics, /healthz and /readyz. Empty: none.
	Listen string
}

// Trace is the section "trace".
type Trace struct {
	// Endpoint is the URL of an OTLP receiver. Empty: none, unless the
	// environment names one (OTEL_EXPORTER_OTLP_ENDPOINT).
	Endpoint string
	// Sample is the share of the calls that are traced, 0 to 1.
	Sample float64
	// Messages says whose SIP messages are kept for /v1/calls/{id}/messages: "off",
	// "failed" or "all".
	Messages string
	// Bytes bounds what they take in memory.
	Bytes int
}

// DNS is the section "dns".
type DNS struct{ Servers []string }

// Default returns the configuration that holds when nothing is set. The
// domain and the users are missing in it. Load has a better DataDir.
func Default() Config {
	c := Config{DataDir: os.Getenv("STATE_DIRECTORY")} // set by systemd, absolute
	if c.DataDir == "" {
		c.DataDir = "data"
	}
	for _, r := range c.rows() {
		if r.Default == "" {
			continue
		}
		if err := setText(setting.Key{Name: r.Name, Field: r.Set}, r.Default); err != nil {
			panic(err) // a mistake of the table
		}
	}
	return c
}

// WordDomain in "trusted" stands for the domain's SIP proxies.
const WordDomain = "domain"
