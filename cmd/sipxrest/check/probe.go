package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/resolve"
	"sipxrest/sipflow"
)

// A server is one that answers OPTIONS, of a proxy's URI.
type server struct {
	uri string
	hop resolve.Hop
}

// probe sends a probe to a server. What keeps it from an answer is for people.
func (c *checker) probe(a *agent, s server, p sipflow.Probe) (*sipflow.Found, error) {
	ctx, cancel := context.WithTimeout(c.ctx, 2*c.wait) // a question and its answer with credentials
	defer cancel()
	found, err := c.ask(ctx, a, s, p)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("does not answer %s within %v", p.Method, 2*c.wait)
	}
	return found, err
}

// ask sends a probe by the agent. Where sipgo cannot, our own stack does.
func (c *checker) ask(ctx context.Context, a *agent, s server, p sipflow.Probe) (*sipflow.Found, error) {
	found, err := a.probe(ctx, s.hop, p)
	var unreadable *unreadableError
	if errors.As(err, &unreadable) {
		found, ownErr := c.askAgain(a, s, p)
		if ownErr == nil {
			c.say(levelNote, "proxy", "%s: %v: another SIP stack cannot read its response to %s, ours can: %v", s.uri, s.hop, p.Method, err)
			return found, nil
		}
		return nil, ownErr
	}
	if errors.Is(err, errNotSent) {
		return a.sw.Probe(ctx, s.hop, p)
	}
	return found, err
}

// askAgain sends a probe by our own stack. sipgo has used up the time of the first.
func (c *checker) askAgain(a *agent, s server, p sipflow.Probe) (*sipflow.Found, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.wait)
	defer cancel()
	return a.sw.Probe(ctx, s.hop, p)
}

// askers are the users in whose name servers are asked.
type askers struct {
	// health is that of the service's own questions; the zero Account is nobody.
	health sipflow.Account
	// users have a SIP password, and are likely to have a phone: that of health, those
	// whose passwords are tried, then any.
	users []sipflow.Account
}

// maxAskers is how many users a server is asked about.
const maxAskers = 3

func (c *checker) askers(cfg *config.Config) (who askers) {
	d, err := app.NewDialling(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return who // told
	}
	users, err := app.LoadUsers(cfg, d)
	if err != nil {
		return who // told
	}
	add := func(name string) {
		u, ok := users.Lookup(name)
		if !ok || !u.HasSIPSecret() || len(who.users) == maxAskers {
			return
		}
		account := d.Account(name)
		if !slices.ContainsFunc(who.users, func(a sipflow.Account) bool { return a.Address == account.Address }) {
			who.users = append(who.users, account)
		}
	}
	if name := cfg.SIP.Health.User; name != "" {
		who.health = d.Account(name)
		add(name)
	}
	for _, name := range c.tried {
		add(name)
	}
	for u := range users.All() {
		if add(u.Name); len(who.users) == maxAskers {
			break
		}
	}
	return who
}

// domain asks the servers whether the domain is theirs, and its users. DNS is not asked
// where there are outbound proxies, and a mistyped name would not be noticed. It is
// asked in a user's name: a proxy may say who is nobody's to it only once it knows who
// asks.
func (c *checker) domain(cfg *config.Config, a *agent, servers []server, who askers) {
	for _, s := range servers {
		if len(cfg.SIP.OutboundProxy) == 0 || c.domainKnown(cfg, a, s, who) {
			c.usersKnown(cfg, a, s, who)
		}
	}
}

// domainKnown reports whether a server says nothing against the domain.
func (c *checker) domainKnown(cfg *config.Config, a *agent, s server, who askers) bool {
	p := sipflow.Probe{Method: "OPTIONS", Domain: cfg.Domain}
	if len(who.users) > 0 {
		p.As = who.users[0]
	}
	found, err := c.probe(a, s, p)
	where := fmt.Sprintf("%s: %v", s.uri, s.hop)
	switch {
	case err != nil:
		c.say(levelWarning, "domain", "%s: %s: OPTIONS for sip:%s: %v: does it serve that domain?", cfg.Origin("domain"), where, cfg.Domain, err)
	case found.Realm != "" && found.Realm != cfg.Realm:
		c.say(levelWarning, "domain", "%s: %s asks for passwords of the realm %q, and the configured realm is %q, so it gets none: set realm, or correct domain", cfg.Origin("realm"), where, found.Realm, cfg.Realm)
	case strange(found.Code):
		c.say(levelWarning, "domain", "%s: %s answers OPTIONS for sip:%s with %d %s: does it serve that domain? Users are called there", cfg.Origin("domain"), where, cfg.Domain, found.Code, found.Reason)
	default:
		return true
	}
	return false
}

// usersKnown says if a server knows none of the users: a call to them would end so. It
// is content with one. By 404 some also say that no phone is registered.
func (c *checker) usersKnown(cfg *config.Config, a *agent, s server, who askers) {
	var names []string
	var last *sipflow.Found
	for _, user := range who.users {
		found, err := c.probe(a, s, sipflow.Probe{Method: "OPTIONS", Domain: user.Address, As: user})
		if err != nil {
			return // a phone to which it was passed on, perhaps
		}
		switch found.Code {
		case 403, 404, 410, 484, 604:
			names, last = append(names, user.Address), found
		default:
			return
		}
	}
	if last == nil {
		return
	}
	what := fmt.Sprintf("%s: %v answers OPTIONS for %s with %d %s", s.uri, s.hop, strings.Join(names, ", "), last.Code, last.Reason)
	if last.Code == 404 {
		c.say(levelNote, "domain", "%s: %s: it does not serve the domain or its users, or none of their phones is registered", cfg.Origin("domain"), what)
		return
	}
	c.say(levelWarning, "domain", "%s: %s: does it serve that domain, and these users? Calls to them end so", cfg.Origin("domain"), what)
}

// strange reports whether a server answers so for a domain that is not its own, or
// that it cannot find.
func strange(code int) bool {
	switch code {
	case 401, 405, 407, 480, 486, 501, 503: // it is asked for proof, or knows no OPTIONS
		return false
	}
	return code >= 400
}

// accounts tries the SIP passwords of the users that were asked for.
func (c *checker) accounts(cfg *config.Config, a *agent, servers []server) {
	if len(c.tried) == 0 {
		return
	}
	d, err := app.NewDialling(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return // told
	}
	if _, err := app.LoadUsers(cfg, d); err != nil {
		return // told
	}
	for _, name := range c.tried {
		account := d.Account(name)
		if account.Address == "" {
			c.say(levelProblem, "user "+name, "there is no user %s in %s", name, cfg.UsersFrom())
			continue
		}
		if len(servers) == 0 {
			c.say(levelProblem, "user "+name, "no proxy serves that could be asked")
		}
		for _, s := range servers {
			level, text := c.account(cfg, a, s, account)
			c.say(level, "user "+name, "%s: %v %s", s.uri, s.hop, text)
		}
	}
}

// account asks a server for a user's bindings, as real ones ask for the password
// then: Kamailio and Asterisk answer OPTIONS without. One that takes no REGISTER is
// asked by OPTIONS.
func (c *checker) account(cfg *config.Config, a *agent, s server, user sipflow.Account) (level, text string) {
	_, host, _ := strings.Cut(user.Address, "@")
	found, err := c.probe(a, s, sipflow.Probe{Method: "REGISTER", Domain: host, As: user})
	if err == nil {
		switch code := found.Code; {
		case found.Denied != "", code == 403, code == 404, code >= 200 && code < 300, code >= 500 && code != 501:
			return verdict(cfg, found, "REGISTER", user)
		}
	}
	options, optionsErr := c.probe(a, s, sipflow.Probe{Method: "OPTIONS", Domain: host, As: user})
	switch {
	case optionsErr == nil && options.Realm != "":
		return verdict(cfg, options, "OPTIONS", user)
	case err != nil:
		return levelProblem, err.Error()
	}
	return levelNote, fmt.Sprintf("answers REGISTER with %d %s and asks for no password by OPTIONS: whether the SIP password is right cannot be told", found.Code, found.Reason)
}

// verdict says what an answer means for a user.
func verdict(cfg *config.Config, found *sipflow.Found, method string, a sipflow.Account) (level, text string) {
	answer := fmt.Sprintf("(%s: %d %s)", method, found.Code, found.Reason)
	switch code := found.Code; {
	case found.Denied != "" && found.Realm != cfg.Realm:
		return levelProblem, fmt.Sprintf("does not let him call: %s: set realm: %s", found.Denied, found.Realm)
	case found.Denied != "":
		return levelProblem, fmt.Sprintf("does not let him call: %s %s", found.Denied, answer)
	case code == 404:
		return levelProblem, fmt.Sprintf("does not know %s %s", a.Address, answer)
	case code == 403:
		return levelProblem, fmt.Sprintf("refuses %s, or his SIP password %s", a.Address, answer)
	case code >= 500:
		return levelProblem, fmt.Sprintf("fails %s", answer)
	case found.Realm == "":
		return levelNote, fmt.Sprintf("asks for no password %s: whether the SIP password is right cannot be told", answer)
	case method == "REGISTER":
		return levelOK, fmt.Sprintf("takes his SIP password; %s registered", count(found.Bindings, "phone"))
	}
	return levelOK, fmt.Sprintf("takes his SIP password %s", answer)
}
