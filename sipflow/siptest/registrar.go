package siptest

import (
	"strconv"

	"github.com/emiago/sipgo/sip"
)

// admit checks the credentials of a request and takes them out, or challenges.
// The nonce is the same for all copies of a request: the response must be, too.
func (p *Proxy) admit(req *sip.Request, status int, ask, give string) bool {
	var rest []string
	ok := false
	for _, h := range req.GetHeaders(give) {
		if params, digest := digestParams(h.Value()); !digest || params["realm"] != p.cfg.Domain {
			rest = append(rest, h.Value()) // for somebody behind us
			continue
		}
		user, err := p.verify(req, h.Value())
		if err != nil {
			p.notef("wrong credentials for %s: %v", req.Method, err)
			continue
		}
		if req.Method == sip.REGISTER && user != req.To().Address.User {
			p.refuse(req, 403)
			return false
		}
		ok = true
	}
	if !ok {
		var with []sip.Header
		for _, c := range p.auth.challenges(p.digest(req, "nonce"), false) {
			with = append(with, sip.NewHeader(ask, c))
		}
		p.refuse(req, status, with...)
		return false
	}
	removeAll(req, give)
	for _, v := range rest {
		req.AppendHeader(sip.NewHeader(give, v))
	}
	return true
}

// verify lets a repeated request pass although its nonce count was seen.
func (p *Proxy) verify(req *sip.Request, value string) (string, error) {
	params, _ := digestParams(value)
	nonce := params["nonce"]
	highest, issued := p.auth.nonces[nonce]
	key := p.digest(req, "passed")
	if issued && p.passed[nonce] == key {
		p.auth.nonces[nonce] = 0
	}
	user, err := p.auth.verify(value, string(req.Method), req.Recipient.String())
	if err != nil {
		if issued {
			p.auth.nonces[nonce] = highest
		}
		return user, err
	}
	if len(p.passed) >= maxNonces {
		clear(p.passed)
	}
	p.passed[nonce] = key
	return user, nil
}

// register updates the location of a user (RFC 3261 §10.3). Only one Contact
// is kept: a stateless proxy cannot fork.
func (p *Proxy) register(req *sip.Request) {
	if !p.admit(req, 401, "WWW-Authenticate", "Authorization") {
		return
	}
	user, contact := req.To().Address.User, req.Contact()
	if contact == nil { // it asks for the bindings (RFC 3261 §10.2.3)
		if at := p.locations[user]; at != "" {
			p.refuse(req, 200, sip.NewHeader("Contact", "<"+at+">;expires=3600"))
			return
		}
		p.refuse(req, 200)
		return
	}
	expires := headerOf(req, "Expires")
	if e, ok := contact.Params.Get("expires"); ok {
		expires = e
	}
	if expires == "" {
		expires = "3600"
	}
	if _, err := strconv.ParseUint(expires, 10, 32); err != nil {
		p.refuse(req, 400)
		return
	}
	if expires == "0" {
		delete(p.locations, user)
		p.refuse(req, 200)
		return
	}
	p.locations[user] = contact.Address.String()
	p.notef("%s is at %s", user, p.locations[user])
	p.refuse(req, 200, sip.NewHeader("Contact", "<"+p.locations[user]+">;expires="+expires))
}
