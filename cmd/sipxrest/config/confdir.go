package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sipxrest/internal/limit"
	"sipxrest/schema"
)

// readConfDir sets what the files of a sipX installation say:
// sipxrest-config.xml, domain-config and, up to release 4.4, validusers.xml.
func (c *Config) readConfDir(dir string) error {
	rest, errRest := readSipX(filepath.Join(dir, "sipxrest-config.xml"), schema.ReadSipxrestConfig)
	domain, errDomain := readSipX(filepath.Join(dir, "domain-config"), schema.ReadDomainConfig)
	if err := errors.Join(errRest, errDomain); err != nil {
		return err
	}
	file := filepath.Join(dir, "domain-config")
	c.Domain, c.Realm = domain.Domain, domain.Realm
	c.origin["domain"], c.origin["realm"] = file, file

	file = filepath.Join(dir, "sipxrest-config.xml")
	c.HTTP = sipXListeners(rest)
	c.origin["http"] = file
	addr := rest.IPAddress
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = addressTowards("")
	}
	port := 6050
	if rest.SIPPort != 0 {
		port = rest.SIPPort
	}
	at := netip.AddrPortFrom(addr, uint16(port)).String()
	c.SIP.Listen = []string{"udp:" + at, "tcp:" + at}
	c.origin["sip.listen"] = file
	if d := rest.ProxyDomain; d != "" && !strings.EqualFold(d, c.Domain) {
		c.SIP.OutboundProxy = []string{"sip:" + d}
		c.origin["sip.outbound-proxy"] = file
	}
	if level := sipXLevels[strings.ToUpper(rest.LogLevel)]; level != "" {
		c.Log.Level = level
		c.origin["log.level"] = file
	}

	file = filepath.Join(dir, "validusers.xml")
	switch _, err := os.Stat(file); {
	case err == nil:
		c.Users = []string{file}
		c.origin["users"] = file
	case errors.Is(err, fs.ErrNotExist):
		c.usersHint = fmt.Sprintf("%s holds no validusers.xml (from release 4.6 on the users are in MongoDB, which is not read): list them in a file and name it with --users FILE", dir)
	default:
		return err
	}
	return nil
}

// sipXListeners returns the listeners that the installation had: HTTPS and
// HTTP up to release 4.4, later an internal and a public one without TLS.
func sipXListeners(rest schema.SipxrestConfig) []HTTPListener {
	var out []HTTPListener
	add := func(port int, tls *TLS, auth string) {
		if port != 0 {
			out = append(out, HTTPListener{Listen: ":" + strconv.Itoa(port), TLS: tls, Auth: auth})
		}
	}
	add(rest.HTTPSPort, &TLS{}, "trusted-or-pin")
	add(rest.ExternalHTTPPort, nil, "pin")
	add(rest.HTTPPort, nil, "trusted")
	add(rest.PublicHTTPPort, nil, "pin")
	return out
}

// sipXLevels translates sipX's log levels (those of syslog).
var sipXLevels = map[string]string{
	"DEBUG": "debug", "INFO": "info", "NOTICE": "info", "WARN": "warn", "WARNING": "warn",
	"ERR": "error", "ERROR": "error", "CRIT": "error", "ALERT": "error", "EMERG": "error",
}

func readSipX[T any](name string, read func(io.Reader) (T, error)) (T, error) {
	var zero T
	f, err := limit.OpenFile(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return zero, fmt.Errorf("%w: is %s the configuration folder of a sipX installation?", err, filepath.Dir(name))
		}
		return zero, err
	}
	defer f.Close()
	v, err := read(f)
	if err != nil {
		return zero, fmt.Errorf("%s: %w", filepath.Dir(name), err)
	}
	return v, nil
}
