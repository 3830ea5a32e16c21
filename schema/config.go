package schema

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// DomainConfig is what callcontroller needs of the file domain-config.
type DomainConfig struct {
	Domain  string   // SIP_DOMAIN_NAME
	Realm   string   // SIP_REALM, by default the domain
	Aliases []string // SIP_DOMAIN_ALIASES: further names and addresses of the domain
}

// ReadDomainConfig reads domain-config: lines "NAME : value", comments after
// "#". Names it does not know, the shared secret among them, are passed over.
// Of a name given twice the last counts. Errors name the line or the missing
// name.
func ReadDomainConfig(r io.Reader) (DomainConfig, error) {
	c, err := readDomainConfig(r)
	if err != nil {
		return DomainConfig{}, fmt.Errorf("domain-config: %w", err)
	}
	return c, nil
}

func readDomainConfig(r io.Reader) (c DomainConfig, err error) {
	lr := &io.LimitedReader{R: r, N: maxFile + 1}
	lines := bufio.NewScanner(lr)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\uFEFF"))
		}
		if len(line) == 0 || line[0] == '#' || line[0] == '!' {
			continue
		}
		// Java's reader takes "=" as well, and whichever comes first.
		i := bytes.IndexAny(line, ":=")
		if i < 0 {
			return c, fmt.Errorf("line %d: no %q between name and value", n, ":")
		}
		name, value := string(bytes.TrimSpace(line[:i])), string(bytes.TrimSpace(line[i+1:]))
		switch name {
		case "SIP_DOMAIN_NAME", "SIP_REALM":
			if strings.IndexFunc(value, isControl) >= 0 {
				return c, fmt.Errorf("line %d: %s has a control character", n, name)
			}
			if name == "SIP_REALM" {
				c.Realm = value
			} else if c.Domain = value; strings.ContainsAny(value, " \"<>@/;?") {
				return c, fmt.Errorf("line %d: %s is not a domain name", n, name)
			}
		case "SIP_DOMAIN_ALIASES":
			c.Aliases = strings.Fields(value)
		}
	}
	switch {
	case lines.Err() != nil:
		return c, fmt.Errorf("line %d: %w", n+1, lines.Err())
	case lr.N <= 0:
		return c, fmt.Errorf("the file is larger than %d MiB", maxFile>>20)
	case c.Domain == "":
		return c, errors.New("SIP_DOMAIN_NAME is missing")
	case c.Realm == "":
		c.Realm = c.Domain
	}
	return c, nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' }

// SipxrestConfig is sipxrest-config.xml. A port that the file does not name
// is 0; which ports it names tells the release: 4.2 has HTTPSPort and
// ExternalHTTPPort, 4.6 and later HTTPPort (trusted, no PIN) and
// PublicHTTPPort (PIN), both without TLS.
type SipxrestConfig struct {
	HTTPSPort        int        // https-port
	ExternalHTTPPort int        // external-http-port
	HTTPPort         int        // http-port
	PublicHTTPPort   int        // public-http-port
	SIPPort          int        // sip-port
	IPAddress        netip.Addr // ip-address; the zero Addr when not given
	ProxyDomain      string     // sipx-proxy-domain
	LogLevel         string     // log-level as written: "NOTICE", "DEBUG", …
	LogDirectory     string     // log-directory
}

// ReadSipxrestConfig reads sipxrest-config.xml of every release: root
// <rest-config>, <call-controller-config> before 4.2. Elements it does not
// know are passed over, empty ones count as absent. Errors name the line and
// the element.
func ReadSipxrestConfig(r io.Reader) (SipxrestConfig, error) {
	var c SipxrestConfig
	roots := []string{"rest-config", "call-controller-config", "sipxrest-config"}
	err := readChildren(r, roots, func(el *etree.Element, _ int) (err error) {
		value := text(el)
		if value == "" {
			return nil
		}
		switch el.Tag {
		case "https-port":
			c.HTTPSPort, err = port(value)
		case "external-http-port":
			c.ExternalHTTPPort, err = port(value)
		case "http-port":
			c.HTTPPort, err = port(value)
		case "public-http-port":
			c.PublicHTTPPort, err = port(value)
		case "sip-port":
			c.SIPPort, err = port(value)
		case "ip-address":
			if c.IPAddress, err = netip.ParseAddr(value); err != nil {
				err = fmt.Errorf("%q is not an IP address", clip(value))
			}
		case "sipx-proxy-domain":
			c.ProxyDomain = value
		case "log-level":
			c.LogLevel = value
		case "log-directory":
			c.LogDirectory = value
		}
		if err != nil {
			return fmt.Errorf("<%s>: %w", el.Tag, err)
		}
		return nil
	})
	if err == nil && c.HTTPSPort == 0 && c.ExternalHTTPPort == 0 && c.HTTPPort == 0 && c.PublicHTTPPort == 0 {
		err = errors.New("names no port: want <https-port> and <external-http-port>, or <http-port> and <public-http-port>")
	}
	if err != nil {
		return SipxrestConfig{}, fmt.Errorf("sipxrest-config.xml: %w", err)
	}
	return c, nil
}

func port(value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port (1 to 65535)", clip(value))
	}
	return int(n), nil
}
