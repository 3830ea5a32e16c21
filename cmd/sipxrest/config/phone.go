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

// HasGateway reports whether users and SIP phones can call each other.
func (p *Phone) HasGateway() bool { return p.Enabled && p.SIP.Enabled }

// rows are the keys of the section.
func (p *Phone) rows() []row {
	return []row{
		{Name: "phone.enabled", Set: setting.Truth(&p.Enabled), Default: "false", Show: "true",
			Doc: "calls over WebSocket at `/api/v3` (see [phone.md](phone.md), as for all of `phone`)"},
		{Name: "phone.calls", Set: setting.Truth(&p.Calls), AtOnce: true, Default: "true",
			Doc:   "`false` answers 451 to what is about calls; read again on SIGHUP",
			About: "false answers 451 to what is about calls; read again on SIGHUP."},
		{Name: "phone.listen", Set: setting.Text(&p.Listen), Absent: "those of `http` with TLS", Show: "\":8443\"",
			Doc: "an address of its own, `:8443`",
			About: "Default: the listeners of http that have TLS. Of its own, with a self-signed\n" +
				"certificate unless tls names another:"},
		{Name: "phone.tls.cert", Set: setting.Path(&p.TLS.Cert), Absent: "self-signed", Show: "phone.crt",
			Doc: "PEM file, for `phone.listen`"},
		{Name: "phone.tls.key", Set: setting.Path(&p.TLS.Key), Absent: "self-signed", Show: "phone.key",
			Doc: "its key"},
		{Name: "phone.tls.min-version", Set: setting.Text(&p.TLS.MinVersion), Absent: "`1.2`", Show: "\"1.2\"",
			Doc: "`1.2` or `1.3`"},
		{Name: "phone.plain-http", Set: setting.Truth(&p.PlainHTTP), Default: "false",
			Doc:   "`true` serves without TLS, on `phone.listen` in place of it, else on the plain listeners of `http`, too: for a reverse proxy that has TLS. Passwords and voices go over it",
			About: "Without TLS, behind a reverse proxy that has it. Passwords go over it."},
		{Name: "phone.database", Set: setting.Path(&p.Database), Absent: "`phone.db` in `data-dir`", Show: "phone.db",
			Doc:   "the file with the users",
			About: "The file with the users. Default: phone.db in data-dir."},
		{Name: "phone.origins", Set: setting.Texts(&p.Origins), Check: origins, Show: "[https://phone.example]",
			Doc:   "browser pages of other sites that may use it, beside `allowed-origins`",
			About: "Browser pages of other sites that may use it, beside allowed-origins."},
		{Name: "phone.min-level", Set: setting.Text(&p.MinLevel), Check: word(webphone.Levels...), Default: "verified",
			Doc:   "access level from which users may call: `unverified`, `banned`, `quarantined`, `verified`, `client`, `moderator`, `twitarrteam`, `tho`, `admin`",
			About: "The access level from which users may call."},
		{Name: "phone.ring-time", Set: setting.Duration(&p.RingTime), Check: between(time.Second, 10*time.Minute), Default: "1m",
			Doc:   "how long a call may be unanswered; 1 s to 10 min",
			About: "How long a call may be unanswered, and how long it may last (0: any time)."},
		{Name: "phone.max-call-time", Set: setting.Duration(&p.MaxCall), Check: orZero(between(time.Minute, 7*24*time.Hour)), Default: "4h",
			Doc: "how long a call may last, up to 7 days; 0: as long as it likes"},
		{Name: "phone.limits.sockets", Set: setting.Number(&p.Limits.Sockets), Check: count(1_000_000), Default: "5000",
			Doc: "WebSockets at once"},
		{Name: "phone.limits.sockets-per-user", Set: setting.Number(&p.Limits.SocketsPerUser), Check: count(1000), Default: "10",
			Doc: "notification sockets of one user"},
		{Name: "phone.limits.calls", Set: setting.Number(&p.Limits.Calls), Check: count(1_000_000), Default: "2000",
			Doc: "calls at once"},
		{Name: "phone.limits.requests-per-user", Set: setting.Number(&p.Limits.RequestsPerUser), Check: count(1_000_000), Default: "10",
			Doc: "requests per second of one user; twice as many at once"},
		{Name: "phone.sip.enabled", Set: setting.Truth(&p.SIP.Enabled), Default: "false", Show: "true",
			Doc: "users and SIP phones call each other (see [phone.md](phone.md#sip-phones), as for all of `phone.sip`)"},
		{Name: "phone.sip.domain", Set: setting.Text(&p.SIP.Domain), Absent: "`domain`", Show: "example.com",
			Doc: "host of the SIP addresses of users who call"},
		{Name: "phone.sip.address", Set: setting.Text(&p.SIP.Address), Absent: "`sip.external-address`, or the first SIP socket's", Show: "192.0.2.1",
			Doc: "address that SIP phones send audio to"},
		{Name: "phone.sip.rtp-ports", Set: setting.Text(&p.SIP.RTPPorts), Default: "20000-20999",
			Doc: "UDP ports for audio, two for each call"},
		{Name: "phone.sip.agent", Set: setting.Text(&p.SIP.Agent), Show: "\"200\"",
			Doc: "user whose SIP password answers challenges on the way to SIP phones"},
		{Name: "phone.sip.guests", Set: setting.Truth(&p.SIP.Guests), Default: "true",
			Doc: "`false` refuses SIP callers that are no users (603)"},
		{Name: "phone.sip.media-allow", Set: setting.Texts(&p.SIP.MediaAllow), Show: "[127.0.0.0/8]",
			Doc: "networks that audio is sent to though it would not be: loopback, link-local, this machine's own addresses"},
		{Name: "phone.sip.media-nat", Set: setting.Texts(&p.SIP.MediaNAT), Show: "[]",
			Doc: "networks that audio may come from though the phone named another address: those of NATs in front of phones"},
		{Name: "phone.sip.srtp", Set: setting.Text(&p.SIP.SRTP), Check: word(media.Securities()...), Default: "offered",
			Doc: "encrypted audio (SRTP) with SIP phones: `offered` takes it from a phone that offers it, `required` offers it and refuses what is not encrypted (488), `off`"},
	}
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
	v.phoneSIP()
}

// PhoneDatabase returns the file with the phone's users, by its whole name.
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
	// SRTP says whether audio is encrypted: a word of media.Securities.
	SRTP string
}

// Security reads SRTP.
func (p *PhoneSIP) Security() (media.Security, error) { return media.ParseSecurity(p.SRTP) }

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
func (p *PhoneSIP) ports() (least, most uint16, err error) { return portRange(p.RTPPorts) }

// portRange reads "20000-20999".
func portRange(text string) (least, most uint16, err error) {
	a, b, _ := strings.Cut(text, "-")
	low, err := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	high, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	if err != nil || err2 != nil || low < 1024 || high <= low {
		return 0, 0, fmt.Errorf("%q: write two ports from 1024 to 65535, such as 20000-20999", text)
	}
	return uint16(low), uint16(high), nil
}

// mediaAddress is what phones are told to send audio to, and what its sockets
// are bound to.
func (c *Config) mediaAddress() (told, listen netip.Addr, err error) {
	return c.audioAddress(c.Phone.SIP.Address)
}

// audioAddress is mediaAddress, where a key says text.
func (c *Config) audioAddress(text string) (told, listen netip.Addr, err error) {
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
	if told = told.Unmap(); !listen.IsUnspecified() && isOwn(told) {
		listen = told // SIP may come by another interface
	}
	return told, listen, nil
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
