package check

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/media"
	webphone "sipxrest/phone"
)

// phone tries the listener and the database.
func (c *checker) phone(cfg *config.Config) {
	p := &cfg.Phone
	if !p.Enabled {
		return
	}
	where := "the listeners of http"
	if p.Listen != "" {
		where = p.Listen
		if c.unbound["tcp:"+p.Listen] {
			return // told
		}
		if !p.PlainHTTP {
			c.certificate(cfg, "phone", cfg.Origin("phone.tls.cert"), p.Listen, p.TLS, c.clientNames(cfg, p.Listen))
		}
	}
	c.phoneSIP(cfg)
	file := cfg.PhoneDatabase()
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		c.say(levelNote, "phone", "served on %s; there are no users in %s yet%s: sipxrest phone user add NAME", where, file, orStateDir(cfg))
		return
	}
	store, err := webphone.Open(file)
	if err != nil {
		c.say(levelProblem, "phone", "%s: %v", cfg.Origin("phone.database"), err)
		return
	}
	defer store.Close()
	n, err := store.Count(context.Background())
	switch {
	case err != nil:
		c.say(levelProblem, "phone", "%s: %s: %v", cfg.Origin("phone.database"), file, err)
	case n == 0:
		c.say(levelNote, "phone", "served on %s; there are no users in %s yet%s: sipxrest phone user add NAME", where, file, orStateDir(cfg))
	default:
		c.say(levelOK, "phone", "served on %s, %s in %s%s", where, count(n, "user"), file, orStateDir(cfg))
	}
}

// sipByTLS reports whether phones can be reached over TLS or WSS.
func sipByTLS(cfg *config.Config) bool {
	for _, l := range cfg.SIPListen() {
		if strings.HasPrefix(l, "tls:") || strings.HasPrefix(l, "wss:") {
			return true
		}
	}
	return slices.ContainsFunc(cfg.SIP.OutboundProxy, func(uri string) bool {
		return strings.HasPrefix(uri, "sips:") || strings.Contains(uri, ";transport=tls")
	})
}

// phoneSIP tells of the gateway to SIP.
func (c *checker) phoneSIP(cfg *config.Config) {
	p := &cfg.Phone.SIP
	if !p.Enabled {
		return
	}
	mc, err := cfg.MediaConfig()
	if err != nil {
		return // said above
	}
	ports, err := media.NewPorts(mc)
	if err != nil {
		c.say(levelProblem, "phone", "%s: %v", cfg.Origin("phone.sip"), err)
		return
	}
	session, err := ports.Open(media.Options{})
	if err != nil {
		c.say(levelProblem, "phone", "%s: no port of %s can be bound on %s: %v", cfg.Origin("phone.sip.rtp-ports"), p.RTPPorts, mc.Listen, err)
		return
	}
	session.Close()
	c.say(levelOK, "phone", "SIP phones send audio to %s, ports %s: %s at once", mc.Address, p.RTPPorts, count(ports.Pairs(), "call"))
	if p.SRTP == media.SRTPRequired.String() && !sipByTLS(cfg) {
		c.say(levelNote, "phone", "%s: audio of SIP phones is encrypted, but SIP is not: whoever reads its messages has the keys; add tls: or wss: to sip.listen",
			cfg.Origin("phone.sip.srtp"))
	}
	if !cfg.Dispatch.InUse() {
		c.say(levelNote, "phone", "SIP phones cannot call users: there are no dispatch rules with transfer_to: phone:NAME")
	}
}
