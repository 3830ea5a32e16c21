package dispatch

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"sipxrest/internal/limit"
	"sipxrest/resolve"
	"sipxrest/sipflow"
)

// maxID bounds the id of a rule and the name of a trunk, in bytes.
const maxID = 64

// check says everything that is wrong with a rule, each with its key.
func (r *Rule) check(cfg *Config) error {
	var errs []error
	fault := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: rule %q: %s: %w", r.Where(), r.ID, key, err))
		}
	}
	if r.ID == "" {
		errs = append(errs, fmt.Errorf("%s: id: missing: give the rule one that logs and webhooks show", r.Where()))
	} else {
		fault("id", checkName(r.ID))
	}
	for _, name := range r.Trunks {
		if !slices.ContainsFunc(cfg.Trunks, func(t Trunk) bool { return t.Name == name }) {
			fault("trunks", fmt.Errorf("%.64q is no trunk: those of dispatch.trunks are %s", name, trunkNames(cfg.Trunks)))
		}
	}
	fault("default_region", checkRegion(r.DefaultRegion))
	for key, list := range map[string][]string{"numbers": r.Numbers, "inbound_numbers": r.InboundNumbers} {
		for _, number := range list {
			fault(key, checkNumber(number))
		}
	}
	if r.Policy != "" && cfg.CheckPolicy != nil {
		fault("policy", cfg.CheckPolicy(r.Policy))
	}
	st := &state{cfg: *cfg}
	if r.Static != nil {
		_, err := st.plan(r, r.Static, true)
		fault("action", err)
	}
	_, err := st.plan(r, &r.Fallback, true)
	fault("fallback", err)
	if r.Static == nil {
		fault("url", r.checkURL())
	}
	fault("backend", r.checkBackend(cfg))
	fault("language", r.checkLanguage(cfg))
	if r.EventsURL != "" {
		fault("events_url", r.CheckURL(r.EventsURL))
	}
	if r.URL == "" && r.EventsURL == "" && r.Events != 0 {
		fault("events", errors.New("there is no webhook that is told of them: write events_url"))
	}
	if r.Static != nil && (r.Decide != 0 || r.CheckPIN) {
		fault("decide", errors.New("a static rule asks nobody: write url instead of action"))
	}
	if r.Decide&^(TransferFailed|TargetFailed) != 0 {
		fault("decide", errors.New("only transfer_failed and target_failed leave something to decide"))
	}
	r.checkRequest(fault)
	return errors.Join(errs...)
}

// checkURL checks where the webhook is.
func (r *Rule) checkURL() error {
	if r.URL == "" {
		return errors.New("dynamic dispatch rule URL cannot be empty")
	}
	return r.CheckURL(r.URL)
}

// checkRequest checks how the webhook is asked.
func (r *Rule) checkRequest(fault func(string, error)) {
	r.SIPHeaders = slices.Clone(r.SIPHeaders) // those of the configuration are those of calls, too
	for i, name := range r.SIPHeaders {
		canonical, err := sipHeader(name)
		fault("sip_headers", err)
		r.SIPHeaders[i] = canonical
	}
	r.Endpoint.Check(fault)
	if u, err := url.Parse(r.URL); err == nil && u.Scheme == "http" && (r.CAFile != "" || r.ClientCert != "") {
		fault("ca_file", errors.New("an http:// URL has no TLS: write https://"))
	}
}

func checkName(s string) error {
	if len(s) > maxID || !validToken(s) {
		return fmt.Errorf("%.80q: up to %d letters, digits and signs such as - _ . are expected", s, maxID)
	}
	return nil
}

func checkRegion(region string) error {
	if region != "" && phonenumbers.GetCountryCodeForRegion(region) == 0 {
		return fmt.Errorf("%.20q is no country: write its ISO 3166 code, such as DE", region)
	}
	return nil
}

// checkNumber refuses what would never match.
func checkNumber(text string) error {
	number := numbering{}.normal(text)
	switch {
	case number == "" || len(text) > maxNumber:
		return fmt.Errorf("%.80q is no number", text)
	case strings.HasSuffix(number, "*") && len(number) > 3 || strings.Contains(number, "?"):
		return fmt.Errorf("%.80q: numbers are compared whole: leave the key out for any number", text)
	case strings.HasPrefix(number, "+") && (len(number) < 5 || len(number) > 16):
		return fmt.Errorf("%.80q is no whole number (ITU-T E.164)", text)
	case strings.ContainsFunc(number, unfit):
		return fmt.Errorf("%.80q has characters that a user does not have", text)
	}
	return nil
}

func trunkNames(trunks []Trunk) string {
	if len(trunks) == 0 {
		return "none"
	}
	names := make([]string, len(trunks))
	for i, t := range trunks {
		names[i] = t.Name
	}
	return strings.Join(names, ", ")
}

// wordDomain in Trunk.Sources stands for the domain's SIP proxies.
const wordDomain = "domain"

// CheckTrunk says what is wrong with a trunk.
func CheckTrunk(t Trunk) error {
	if t.Name == "" {
		return errors.New("name: missing: rules and webhooks know the trunk by it")
	}
	if err := checkName(t.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	for _, s := range t.Sources {
		if s == wordDomain {
			continue
		}
		if _, err := limit.ParseNetwork(s); err != nil {
			return fmt.Errorf("trunk %s: sources: %.80q is neither an address nor a network: write 192.0.2.7 or 192.0.2.0/24", t.Name, s)
		}
	}
	for _, h := range t.FromHosts {
		if !resolve.IsHost(h) {
			return fmt.Errorf("trunk %s: from-hosts: %.80q is neither a host name nor an address", t.Name, h)
		}
	}
	if len(t.Sources) == 0 && t.Username == "" {
		return fmt.Errorf("trunk %s: sources or username: missing: anybody can write any host into From, so name the addresses that its calls come from, or a digest user", t.Name)
	}
	if t.MaxCalls < 0 {
		return fmt.Errorf("trunk %s: max-calls: %d: write how many calls it may have at once, or 0 for as many as limits.calls", t.Name, t.MaxCalls)
	}
	if t.Credentials != (sipflow.Credentials{}) && t.Username == "" {
		return fmt.Errorf("trunk %s: username: missing: whose password is it?", t.Name)
	}
	return nil
}
