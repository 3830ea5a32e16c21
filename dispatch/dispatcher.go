package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/internal/fault"
	"sipxrest/internal/limit"
	"sipxrest/internal/webhook"
	"sipxrest/sipflow"
	"sipxrest/sipflow/uri"
)

// Config is what New needs.
type Config struct {
	// Rules are those of the configuration; RulesDir is a folder with more, in
	// files *.yaml that hold a rule or a list of rules. Empty: none.
	Rules    []Rule
	RulesDir string
	// Trunks are those who may send calls without a user's digest.
	Trunks []Trunk
	// Rooms are URIs to call by the name of a room. RoomTarget is that of any
	// other; {room} in it is the room's name. Empty: there are no others.
	Rooms      map[string]string
	RoomTarget string
	// Domain is ours, and where tel URIs are called.
	Domain string
	// Gateway is where numbers are called to which transfer_to is set. Without it that is
	// Domain.
	Gateway Gateway
	// Region is the ISO 3166 country of numbers without a country code; of so
	// many digits and fewer, ExtensionDigits, they stay in the house.
	Region          string
	ExtensionDigits int
	// UserAgent is sent to webhooks. Default "sipxrest".
	UserAgent string
	// Resolver looks webhooks up. Nil: the system's.
	Resolver *net.Resolver
	// CheckPolicy says what is wrong with the name of a policy, and Allow whether
	// it lets a URI be called; an empty name is everybody's. May be nil.
	CheckPolicy func(policy string) error
	Allow       func(policy, uri string) error
	// DomainAddrs are the addresses of the domain's SIP proxies. May be nil.
	DomainAddrs func() []netip.Addr
	// Secrets are the SIP secrets of a user. May be nil.
	Secrets func(user string) (sipflow.Credentials, bool)
	// Owns reports whether a user may call in a name: his own, or an alias. Nil:
	// any.
	Owns func(user, name string) bool
	// HasUsers says that there are users of calls over WebSocket, and targets
	// phone:NAME with them.
	HasUsers bool
	// Phone connects a caller to such a user, who may ring so long. It returns as
	// sipflow.Incoming's Connect does. A Dispatcher with users needs it, Check and
	// Probe do not.
	Phone func(ctx context.Context, in *sipflow.Incoming, name string, ring time.Duration) error
	// CheckTalk says what is wrong with the backend and the language of a rule whose
	// targets are in Nextcloud Talk; both may be empty. Nil: there are no such targets.
	CheckTalk func(backend, language string) error
	// Talk takes a caller into Talk. It returns as sipflow.Incoming's Converse does. A
	// Dispatcher with CheckTalk needs it, Check and Probe do not.
	Talk func(ctx context.Context, in *sipflow.Incoming, t TalkCall) error
	// Algorithms are those of the challenges to callers, in this order: SHA-256
	// and MD5, in any case. Empty: both, in that order.
	Algorithms []string
	// Agent is the user of ours whose secrets are used for challenges on the way
	// to rooms and targets. Empty: none are.
	Agent string
	// Audio is how callers who are asked for a PIN hear and are heard. Nil: they are
	// on hold meanwhile, and their digits come by INFO only.
	Audio *Audio
	// CheckLanguage says what is wrong with the language of a rule, where callers are
	// asked for PINs in words. Nil: they are not.
	CheckLanguage func(language string) error
	// Calls is told of each call; nil: nobody is.
	Calls Calls
	// Kept has calls be kept with their states, for other nodes of a cluster.
	Kept bool
}

// maxAsking bounds the webhooks that are asked at once.
const maxAsking = 4096

// rule is a Rule that can be asked.
type rule struct {
	Rule
	client *webhook.Client
	asking chan struct{} // of all rules
}

// state is what calls are dispatched by. It is never changed.
type state struct {
	cfg    Config
	table  *table
	trunks []trunk
	// algorithms are those of cfg, as on the wire; nil for the default.
	algorithms []string
}

// A Dispatcher decides on calls. Its methods may be called from any goroutine.
type Dispatcher struct {
	log     *slog.Logger
	now     atomic.Pointer[state]
	asking  chan struct{}
	events  *webhook.Sender
	stats   stats
	guesses *limit.Failures // of PINs

	reloading sync.Mutex
	cfg       Config // guarded by reloading
	files     string // state of the files when they were read last; guarded by reloading
	// moved is closed, and made anew, when cfg.RulesDir changes; guarded by reloading
	moved chan struct{}
}

// New reads the rules. Its error has a line for each mistake. Close must be
// called.
func New(cfg Config, log *slog.Logger) (*Dispatcher, error) {
	d := &Dispatcher{log: log, asking: make(chan struct{}, maxAsking), guesses: limit.NewFailures(guessTime)}
	if err := d.Reload(cfg); err != nil {
		return nil, err
	}
	d.events = webhook.NewSender(d.lost)
	return d, nil
}

// Reload reads the rules again, by another configuration. If there is anything
// wrong, the old ones stay.
func (d *Dispatcher) Reload(cfg Config) error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	return d.reload(cfg)
}

// reload is Reload with d.reloading held.
func (d *Dispatcher) reload(cfg Config) error {
	files := statesOf(cfg.RulesDir)
	st, err := newState(cfg, d.asking)
	if err != nil {
		return err
	}
	if d.moved == nil || cfg.RulesDir != d.cfg.RulesDir {
		if d.moved != nil {
			close(d.moved)
		}
		d.moved = make(chan struct{})
	}
	d.cfg, d.files = cfg, files
	d.now.Store(st)
	return nil
}

// Rules is how many there are.
func (d *Dispatcher) Rules() int { return len(d.now.Load().table.rules) }

// Close sends the events that wait, until ctx ends.
func (d *Dispatcher) Close(ctx context.Context) { d.events.Close(ctx) }

// Check says everything that is wrong with the rules and what they need.
func Check(cfg Config) (rules int, err error) {
	st, err := newState(cfg, nil)
	if err != nil {
		return 0, err
	}
	return len(st.table.rules), nil
}

func newState(cfg Config, asking chan struct{}) (*state, error) {
	st := &state{cfg: cfg}
	rules, err := readDir(cfg.RulesDir)
	errs := []error{err}
	rules = append(append([]Rule{}, cfg.Rules...), rules...)
	for i := range rules {
		r := &rules[i]
		if r.File == "" {
			r.File = "dispatch.rules"
		}
		if r.DefaultRegion == "" {
			r.DefaultRegion = cfg.Region
		}
		if r.Timeout == 0 {
			r.Timeout = webhookTime
		}
		errs = append(errs, r.check(&cfg))
	}
	errs = append(errs, st.addTrunks(cfg.Trunks), st.addAlgorithms(cfg.Algorithms), checkRooms(&cfg))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	list := make([]*rule, len(rules))
	for i := range rules {
		r := &rule{Rule: rules[i], asking: asking}
		if r.client, err = webhook.NewClient(&r.Endpoint, cmp.Or(cfg.UserAgent, "sipxrest"), cfg.Resolver); err != nil {
			return nil, fmt.Errorf("%s: rule %q: %w", r.Where(), r.ID, err)
		}
		list[i] = r
	}
	st.table, err = newTable(list, cfg.ExtensionDigits)
	return st, err
}

// webhookTime is how long a webhook may take, all together.
const webhookTime = 5 * time.Second

func checkRooms(cfg *Config) error {
	var errs []error
	for name, uri := range cfg.Rooms {
		if err := checkTemplate(uri); err != nil {
			errs = append(errs, &fault.Fault{Key: "dispatch.rooms", Err: fmt.Errorf("%.64s: %w", name, err)})
		}
	}
	if cfg.RoomTarget != "" {
		if err := checkTemplate(cfg.RoomTarget); err != nil {
			errs = append(errs, &fault.Fault{Key: "dispatch.room-target", Err: err})
		}
	}
	return errors.Join(errs...)
}

// A plan is a decision that can be carried out.
type plan struct {
	*Decision
	uri string // to call; empty: the call is refused
	// ours says that the URI is one of the configuration.
	ours bool
	// denied says that a policy does not allow it.
	denied bool
	// gateway says that the URI is a number at the gateway.
	gateway bool
}

// Gateway is the way to the telephone network.
type Gateway struct {
	URI         string // sip:gw.example;transport=tls
	Credentials sipflow.Credentials
	Realm       string // that alone gets the credentials; empty: any
}

// number is the URI of a number at the gateway.
func (g *Gateway) number(number string) string {
	scheme, rest, _ := strings.Cut(g.URI, ":")
	return scheme + ":" + string(uri.AppendUser(nil, number)) + "@" + rest + ";user=phone"
}

// plan finds out whom a decision calls, and whether that is allowed.
func (st *state) plan(r *Rule, d *Decision, atLoad bool) (plan, error) {
	p := plan{Decision: d}
	switch d.Action {
	case Answer:
		template, known := st.cfg.Rooms[d.Room]
		if !known {
			template = st.cfg.RoomTarget
		}
		if template == "" {
			return p, fmt.Errorf("room_name: there is no room %.80q: add it to dispatch.rooms, or write dispatch.room-target for all", d.Room)
		}
		uri, err := roomTarget(template, d.Room)
		if err != nil {
			return p, err
		}
		p.ours = true
		uri, err = parseTarget(uri)
		p.uri = sipURI(uri, st.cfg.Domain)
		if strings.HasPrefix(p.uri, talkScheme) && d.PIN != "" {
			return p, errors.New("pin: Talk asks for its own: leave the PIN out for a room in Talk")
		}
		return p, errors.Join(err, st.checkPhone(p.uri), st.checkTalk(r, p.uri, false))
	case Transfer:
		p.uri = sipURI(d.To, st.cfg.Domain)
		if d.Number && st.cfg.Gateway.URI != "" && !r.Redirect { // who is redirected has ways of his own
			p.uri, p.gateway = st.cfg.Gateway.number(strings.TrimPrefix(d.To, "tel:")), true
		}
		if strings.HasPrefix(p.uri, phoneScheme) { // policies are about numbers
			if r.Redirect {
				return p, fmt.Errorf("transfer_to: %s is no SIP address that a caller could be redirected to: leave out mode: redirect", p.uri)
			}
			return p, st.checkPhone(p.uri)
		}
		if strings.HasPrefix(p.uri, talkScheme) {
			return p, st.checkTalk(r, p.uri, d != r.Static && d != &r.Fallback)
		}
		if st.cfg.Allow != nil && !atLoad {
			if err := st.cfg.Allow(r.Policy, d.To); err != nil {
				p.denied = true
				return p, fmt.Errorf("transfer_to: %w", err)
			}
		}
	}
	return p, nil
}

// checkPhone says that a target cannot be a user of calls over WebSocket.
func (st *state) checkPhone(uri string) error {
	if strings.HasPrefix(uri, phoneScheme) && !st.cfg.HasUsers {
		return fmt.Errorf("%s: there are no users of calls over WebSocket who can be called: set phone.enabled and phone.sip.enabled", uri)
	}
	return nil
}

// Guesses are the wrong PINs that are counted, for nodes of a cluster to share.
func (d *Dispatcher) Guesses() *limit.Failures { return d.guesses }
