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
// sipxrest-config.xml, domain-config and, up to release 4.4, validusers.xml. From
// release 4.6 on mongo-client.ini says where the users are.
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
		return c.readMongoClient(dir)
	default:
		return err
	}
	return nil
}

// readMongoClient takes the URL of the database from mongo-client.ini, a file of Java
// properties.
func (c *Config) readMongoClient(dir string) error {
	file := filepath.Join(dir, "mongo-client.ini")
	data, err := limit.ReadFile(file, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.usersHint = fmt.Sprintf("%s holds neither a validusers.xml nor a mongo-client.ini (from release 4.6 on the users are in MongoDB): name their database or a file with --users FILE", dir)
		return nil
	case err != nil:
		return err
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if strings.TrimSpace(key) == "connectionUrl" {
			c.Users = []string{strings.ReplaceAll(strings.TrimSpace(value), `\`, "")} // \: is : in such files
			c.origin["users"] = file
			return nil
		}
	}
	c.usersHint = fmt.Sprintf("%s has no connectionUrl: name the users' database or a file with --users FILE", file)
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
