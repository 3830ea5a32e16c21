package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// domain asks the outbound proxies whether the domain is theirs: DNS is not asked
// where there are such, and a mistyped name would not be noticed.
func (c *checker) domain(cfg *config.Config, a *agent, servers []server) {
	if len(cfg.SIP.OutboundProxy) == 0 {
		return
	}
	for _, s := range servers {
		found, err := c.probe(a, s, sipflow.Probe{Method: "OPTIONS", Domain: cfg.Domain})
		where := fmt.Sprintf("%s: %v", s.uri, s.hop)
		switch {
		case err != nil:
			c.say(levelWarning, "domain", "%s: %s: OPTIONS for sip:%s: %v: does it serve that domain?", cfg.Origin("domain"), where, cfg.Domain, err)
		case found.Realm != "" && found.Realm != cfg.Realm:
			c.say(levelWarning, "domain", "%s: %s asks for passwords of the realm %q, and the configured realm is %q, so it gets none: set realm, or correct domain", cfg.Origin("realm"), where, found.Realm, cfg.Realm)
		case strange(found.Code):
			c.say(levelWarning, "domain", "%s: %s answers OPTIONS for sip:%s with %d %s: does it serve that domain? Users are called there", cfg.Origin("domain"), where, cfg.Domain, found.Code, found.Reason)
		}
	}
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
