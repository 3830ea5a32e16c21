package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/dispatch"
	"sipxrest/media"
	"sipxrest/media/prompts"
	"sipxrest/sipflow"
)

// dispatch tells what becomes of calls that come in.
func (c *checker) dispatch(cfg *config.Config) {
	d := &cfg.Dispatch
	if !d.InUse() {
		return
	}
	dc := cfg.DispatchConfig()
	n, err := dispatch.Check(dc)
	switch {
	case err != nil:
		c.say(levelProblem, "dispatch", "%v", err)
		return
	case n == 0:
		c.say(levelNote, "dispatch", "there are no rules, so calls that come in are answered 404: write some into dispatch.rules or %s", cmp.Or(d.RulesDir, "dispatch.rules-dir"))
		return
	}
	c.say(levelOK, "dispatch", "%s, %s", count(n, "rule"), count(len(d.Trunks), "trunk"))
	if len(d.Trunks) == 0 {
		c.say(levelNote, "dispatch", "there are no trunks, so only users with a SIP password can call in: name who sends calls in dispatch.trunks")
	}
	c.pinAudio(cfg)
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	for _, problem := range dispatch.Probe(ctx, dc) {
		c.say(levelProblem, "dispatch", "%v", problem)
	}
	c.dispatchUsers(cfg)
}

// pinAudio tells what callers hear who are asked for a PIN.
func (c *checker) pinAudio(cfg *config.Config) {
	if why := cfg.LacksPINAudio(); why != nil {
		c.say(levelNote, "dispatch", "PINs can be entered by INFO only, which most telephones do not send: %s: %v", cfg.Origin("dispatch.audio.address"), why)
	}
	if !cfg.HasPINAudio() {
		return
	}
	mc, err := cfg.PINMedia()
	if err != nil {
		return // said above
	}
	ports, err := media.NewPorts(mc)
	if err == nil {
		var session *media.Session
		if session, err = ports.Open(media.Options{}); err == nil {
			session.Close()
		}
	}
	if err != nil {
		c.say(levelProblem, "dispatch", "%s: no port of %d-%d can be bound on %s: %v", cfg.Origin("dispatch.audio.rtp-ports"), mc.MinPort, mc.MaxPort, mc.Listen, err)
		return
	}
	set, language, err := cfg.PINPrompts()
	if err != nil {
		return // said above
	}
	c.say(levelOK, "dispatch", "callers who are asked for a PIN send audio to %s, ports %d-%d: %s at once, prompts in %s", mc.Address, mc.MinPort, mc.MaxPort,
		count(ports.Pairs(), "call"), language)
	c.prompts("dispatch", cfg.PINFolder(), set)
}

// prompts lists those that there are, by their languages.
func (c *checker) prompts(about, folder string, set *prompts.Set) {
	for _, language := range set.Languages() {
		switch own := set.Own(language); {
		case len(own) == 0:
			c.say(levelOK, about, "prompts in %s: %d built in", language, len(prompts.Names))
		case len(own) == len(prompts.Names):
			c.say(levelOK, about, "prompts in %s: %d of %s", language, len(own), folder)
		default:
			c.say(levelOK, about, "prompts in %s: %d built in, and of %s %s", language, len(prompts.Names)-len(own), folder, strings.Join(own, ", "))
		}
	}
}

// dispatchUsers looks for the users that the section names.
func (c *checker) dispatchUsers(cfg *config.Config) {
	dl, err := app.NewDialling(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return // said above
	}
	users, err := app.LoadUsers(cfg, dl)
	if err != nil {
		return
	}
	need := func(key, name string) {
		if why := cfg.LacksSecret(users, key, name); why != "" {
			c.say(levelProblem, "dispatch", "%s", why)
		}
	}
	if cfg.Dispatch.Agent == "" {
		c.say(levelNote, "dispatch", "dispatch.agent is not set: where the proxy asks for a SIP password, calls to rooms and targets end with 403")
	}
	need("dispatch.agent", cfg.Dispatch.Agent)
	for _, t := range cfg.Dispatch.Trunks {
		if t.Username != "" && t.Credentials == (sipflow.Credentials{}) {
			need("dispatch.trunks", t.Username)
		}
	}
}

// DispatchTrial is a call to try: who calls whom, from where.
type DispatchTrial struct {
	From, To, Trunk, Source string
	// Ask sends the webhook.
	Ask bool
}

// TryDispatch tells what would become of a call, by the configuration of src.
func TryDispatch(ctx context.Context, src config.Source, t DispatchTrial) (*dispatch.Trial, error) {
	cfg, err := config.Load(src)
	if err != nil {
		return nil, err
	}
	if !cfg.Dispatch.InUse() {
		return nil, errors.New("there is nothing to try: dispatch.rules and dispatch.rules-dir are not set")
	}
	quiet := slog.New(slog.DiscardHandler)
	dl, err := app.NewDialling(&cfg, quiet)
	if err != nil {
		return nil, err
	}
	if _, err := app.LoadUsers(&cfg, dl); err != nil {
		return nil, err
	}
	var proxies []netip.Addr
	if t.Source != "" && cfg.Dispatch.DomainTrunk() {
		if proxies, err = app.LookUpOnce(ctx, &cfg); err != nil {
			return nil, fmt.Errorf("the addresses of the domain's proxies (sources: domain): %w", err)
		}
	}
	call := dispatch.Call{Trunk: t.Trunk, SIPCallID: "try", At: time.Now()}
	call.FromUser, call.FromHost = dispatch.Party(t.From, cfg.Domain)
	call.ToUser, call.ToHost = dispatch.Party(t.To, cfg.Domain)
	if t.Source != "" {
		source, err := netip.ParseAddr(t.Source)
		if err != nil {
			return nil, fmt.Errorf("--source: %.80q is not an address", t.Source)
		}
		call.Source = netip.AddrPortFrom(source, 5060)
	}
	d, err := dispatch.New(app.DispatchConfig(&cfg, dl, func() []netip.Addr { return proxies }), quiet)
	if err != nil {
		return nil, err
	}
	defer d.Close(ctx)
	return d.Try(ctx, call, t.Ask)
}
