package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sipxrest/internal/setting"
	"sipxrest/media"
	webphone "sipxrest/phone"
)

// Phone is the section "phone": calls over WebSocket between users of their own,
// at /api/v3. Without phone.enabled there is nothing of it.
type Phone struct {
	Enabled bool
	// Calls false answers 451 to what is about calls. It is read again on SIGHUP.
	Calls bool
	// Listen is a "host:port" of its own. Empty: the listeners of "http" that
	// have TLS.
	Listen string
	// TLS is for Listen; as with "http", empty is the self-signed certificate.
	TLS TLS
	// PlainHTTP serves without TLS: on Listen in place of it, else on the
	// listeners of "http" without TLS, too.
	PlainHTTP bool
	// Database is the file with the users. Empty: phone.db in DataDir.
	Database string
	// Origins lists the browser pages of other sites that may use it, beside
	// AllowedOrigins.
	Origins []string
	// MinLevel is the access level from which users may call.
	MinLevel string
	RingTime time.Duration // how long a call may be unanswered
	MaxCall  time.Duration // how long it may last; 0: as long as it likes
	Limits   PhoneLimits
	SIP      PhoneSIP
}

// PhoneLimits is the section "phone.limits".
type PhoneLimits struct {
	Sockets         int // at once
	SocketsPerUser  int // notification sockets of one user
	Calls           int // at once
	RequestsPerUser int // per second
}

// defaultPhone holds when nothing is set.
func defaultPhone() Phone {
	return Phone{Calls: true, MinLevel: webphone.DefaultLevel, RingTime: time.Minute, MaxCall: 4 * time.Hour,
		Limits: PhoneLimits{Sockets: 5000, SocketsPerUser: 10, Calls: 2000, RequestsPerUser: 10}, SIP: PhoneSIP{RTPPorts: "20000-20999", Guests: true}}
}

// HasGateway reports whether users and SIP phones can call each other.
func (p *Phone) HasGateway() bool { return p.Enabled && p.SIP.Enabled }

// keys are the keys of the section.
func (p *Phone) keys() []setting.Key {
	return append([]setting.Key{
		{Name: "phone.enabled", Field: setting.Truth(&p.Enabled)},
		{Name: "phone.calls", Field: setting.Truth(&p.Calls)},
		{Name: "phone.listen", Field: setting.Text(&p.Listen)},
		{Name: "phone.tls.cert", Field: setting.Path(&p.TLS.Cert)},
		{Name: "phone.tls.key", Field: setting.Path(&p.TLS.Key)},
		{Name: "phone.tls.min-version", Field: setting.Text(&p.TLS.MinVersion)},
		{Name: "phone.plain-http", Field: setting.Truth(&p.PlainHTTP)},
		{Name: "phone.database", Field: setting.Path(&p.Database)},
		{Name: "phone.origins", Field: setting.Texts(&p.Origins)},
		{Name: "phone.min-level", Field: setting.Text(&p.MinLevel)},
		{Name: "phone.ring-time", Field: setting.Duration(&p.RingTime)},
		{Name: "phone.max-call-time", Field: setting.Duration(&p.MaxCall)},
		{Name: "phone.limits.sockets", Field: setting.Number(&p.Limits.Sockets)},
		{Name: "phone.limits.sockets-per-user", Field: setting.Number(&p.Limits.SocketsPerUser)},
		{Name: "phone.limits.calls", Field: setting.Number(&p.Limits.Calls)},
		{Name: "phone.limits.requests-per-user", Field: setting.Number(&p.Limits.RequestsPerUser)},
	}, p.SIP.keys()...)
}

// phone checks the section.
func (v *checks) phone() {
	p := &v.c.Phone
	if p.Listen != "" {
		if _, _, err := net.SplitHostPort(p.Listen); err != nil {
			v.check("phone.listen", fmt.Errorf("%q: write host:port, or :port for every address", p.Listen))
		}
		if (p.TLS.Cert == "") != (p.TLS.Key == "") {
			v.check("phone.tls.cert", errors.New("write both cert and key, or neither for a self-signed certificate"))
		}
		if p.PlainHTTP && p.TLS.Cert != "" {
			v.check("phone.plain-http", errors.New("phone.listen has either a certificate or plain HTTP: leave one out"))
		}
	} else if p.TLS != (TLS{}) {
		v.check("phone.listen", errors.New("missing: phone.tls is for a listener of its own; those of http have their own tls"))
	}
	if _, ok := tlsVersions[p.TLS.MinVersion]; !ok {
		v.check("phone.tls.min-version", fmt.Errorf(`%q is unknown: write "1.2" or "1.3"`, p.TLS.MinVersion))
	}
	if p.Enabled && p.Listen == "" && !p.PlainHTTP {
		secure := false
		for _, l := range v.c.HTTP {
			secure = secure || l.TLS != nil
		}
		if !secure {
			v.check("phone.enabled", errors.New("no listener of http has tls: add tls: {} to one, or set phone.listen, or phone.plain-http behind a reverse proxy"))
		}
	}
	v.origins("phone.origins", p.Origins)
	v.word("phone.min-level", p.MinLevel, webphone.Levels...)
	v.span("phone.ring-time", p.RingTime, time.Second, 10*time.Minute)
	if p.MaxCall != 0 {
		v.span("phone.max-call-time", p.MaxCall, time.Minute, 7*24*time.Hour)
	}
	v.count("phone.limits.sockets", p.Limits.Sockets, 1_000_000)
	v.count("phone.limits.sockets-per-user", p.Limits.SocketsPerUser, 1000)
	v.count("phone.limits.calls", p.Limits.Calls, 1_000_000)
	v.count("phone.limits.requests-per-user", p.Limits.RequestsPerUser, 1_000_000)
	v.phoneSIP()
}

// PhoneDatabase answers the file with the phone's users, by its whole name.
func (c *Config) PhoneDatabase() string {
	file := c.Phone.Database
	if file == "" {
		file = filepath.Join(c.DataDir, "phone.db")
	}
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

// PhoneSIP is the section "phone.sip": calls between users of phone and SIP
// phones. Without enabled there are none.
type PhoneSIP struct {
	Enabled bool
	// Domain is the host of our From. Empty: Config.Domain.
	Domain string
	// Address is where phones send audio to. Empty: sip.external-address, or
	// the address of the first SIP socket.
	Address string
	// RTPPorts are the ports for audio, two for each call: "20000-20999".
	RTPPorts string
	// Agent is the user whose SIP password answers challenges.
	Agent string
	// Guests lets phones call that are no user's.
	Guests bool
	// MediaAllow lists networks where audio goes though it would not, MediaNAT
	// those from which it may come though no phone has named them.
	MediaAllow, MediaNAT []string
}

func (p *PhoneSIP) keys() []setting.Key {
	return []setting.Key{
		{Name: "phone.sip.enabled", Field: setting.Truth(&p.Enabled)},
		{Name: "phone.sip.domain", Field: setting.Text(&p.Domain)},
		{Name: "phone.sip.address", Field: setting.Text(&p.Address)},
		{Name: "phone.sip.rtp-ports", Field: setting.Text(&p.RTPPorts)},
		{Name: "phone.sip.agent", Field: setting.Text(&p.Agent)},
		{Name: "phone.sip.guests", Field: setting.Truth(&p.Guests)},
		{Name: "phone.sip.media-allow", Field: setting.Texts(&p.MediaAllow)},
		{Name: "phone.sip.media-nat", Field: setting.Texts(&p.MediaNAT)},
	}
}

// phoneSIP checks the section.
func (v *checks) phoneSIP() {
	p := &v.c.Phone.SIP
	if p.Enabled && !v.c.Phone.Enabled {
		v.check("phone.sip.enabled", errors.New("phone.enabled is false: there are no users to call"))
	}
	if p.Domain != "" && !IsHost(p.Domain) {
		v.check("phone.sip.domain", fmt.Errorf("%q is neither a host name nor an address", p.Domain))
	}
	for key, list := range map[string][]string{"phone.sip.media-allow": p.MediaAllow, "phone.sip.media-nat": p.MediaNAT} {
		for _, s := range list {
			_, err := parsePrefix(s)
			v.check(key, err)
		}
	}
	if _, _, err := p.ports(); err != nil {
		v.check("phone.sip.rtp-ports", err)
	}
	if p.Address != "" || p.Enabled {
		if _, _, err := v.c.mediaAddress(); err != nil {
			v.check("phone.sip.address", err)
		}
	}
}

// ports reads RTPPorts.
func (p *PhoneSIP) ports() (least, most uint16, err error) {
	a, b, _ := strings.Cut(p.RTPPorts, "-")
	low, err := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	high, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	if err != nil || err2 != nil || low < 1024 || high <= low {
		return 0, 0, fmt.Errorf("%q: write two ports from 1024 to 65535, such as 20000-20999", p.RTPPorts)
	}
	return uint16(low), uint16(high), nil
}

// mediaAddress is what phones are told to send audio to, and what its sockets
// are bound to.
func (c *Config) mediaAddress() (told, listen netip.Addr, err error) {
	for _, l := range c.SIPListen() {
		_, at, _ := strings.Cut(l, ":")
		if ap, err := netip.ParseAddrPort(at); err == nil {
			listen = ap.Addr()
			break
		}
	}
	if !listen.IsValid() || listen.IsUnspecified() {
		listen = netip.Addr{}
	}
	text := c.Phone.SIP.Address
	if text == "" && c.SIP.ExternalAddress != "auto" {
		text = strings.Trim(c.SIP.ExternalAddress, "[]")
	}
	if text != "" {
		told, err = netip.ParseAddr(text)
		if err != nil || told.IsUnspecified() || told.IsMulticast() {
			return told, listen, fmt.Errorf("%q is no address that phones could send audio to: write it as 192.0.2.1", text)
		}
	} else if told = listen; !told.IsValid() {
		return told, listen, errors.New("missing: the SIP sockets are bound to every address: write the one that phones send audio to")
	}
	if !listen.IsValid() {
		listen = netip.IPv4Unspecified()
		if told.Is6() {
			listen = netip.IPv6Unspecified()
		}
	}
	return told.Unmap(), listen, nil
}

// MediaConfig is what sessions of audio need.
func (c *Config) MediaConfig() (media.Config, error) {
	p := &c.Phone.SIP
	least, most, err := p.ports()
	if err != nil {
		return media.Config{}, err
	}
	told, listen, err := c.mediaAddress()
	return media.Config{Address: told, Listen: listen, MinPort: least, MaxPort: most, Allow: Prefixes(p.MediaAllow), LatchFrom: Prefixes(p.MediaNAT)}, err
}
