package sipflow

import (
	"context"
	"strings"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/uri"
)

func (c *Call) targetTime() time.Duration {
	if c.Dial.TargetTime > 0 {
		return c.Dial.TargetTime
	}
	return targetTime
}

// rings asks whether the agent may have those rung whom the call is for.
func (c *Call) rings() error {
	if c.Dial != nil { // the target is the operator's choice, or has been asked about
		return c.sw.allowed(&c.Spec, uri.Dialable(c.Dial.Number)) // what is dialled
	}
	if c.Spec.Converse != nil {
		return c.sw.allowed(&c.Spec, c.CalledUser)
	}
	for _, user := range [...]string{c.CallingUser, c.CalledUser} {
		if err := c.sw.allowed(&c.Spec, user); err != nil {
			return err
		}
	}
	return nil
}

// firstHops says where the first INVITE goes.
func (c *Call) firstHops(ctx context.Context) ([]resolve.Hop, error) {
	if c.Dial != nil {
		return c.sw.hopsOf(ctx, c.Dial.Gateway)
	}
	return c.namedHops(ctx, "sip:"+c.endpoint())
}

// byOurServers reports whether the first INVITE goes to servers that the
// configuration names, or to those of the agent's domain. A client may have any
// other host called, which must not free it of the limits of strangers.
func (c *Call) byOurServers() bool {
	_, host, _ := strings.Cut(c.endpoint(), "@")
	_, domain, _ := strings.Cut(c.Key.Agent, "@")
	return len(c.sw.proxies) > 0 || c.Dial != nil || strings.EqualFold(host, domain)
}
