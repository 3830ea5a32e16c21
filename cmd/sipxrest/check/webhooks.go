package check

import (
	"context"
	"errors"
	"net"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/event"
)

// webhooks tells what of the webhooks of events would not work: their files, and
// where their URLs lead. Nothing is sent to them.
func (c *checker) webhooks(cfg *config.Config) {
	if cfg.API.KeyFile == "" && len(cfg.Events.Webhooks) == 0 {
		return
	}
	out, err := cfg.OutboxConfig()
	if err != nil {
		c.say(levelProblem, "webhooks", "%v", err)
		return
	}
	if len(out.Webhooks) == 0 {
		return
	}
	bad := 0
	for _, w := range out.Webhooks {
		ctx, cancel := context.WithTimeout(c.ctx, webhookWait)
		err := event.ProbeWebhook(ctx, out.Resolver, w.URL, out.AllowPrivate)
		cancel()
		if err != nil {
			bad++
			// Of a look-up at dns.servers the error would name the system's server.
			if missing := (*net.DNSError)(nil); out.Resolver != nil && errors.As(err, &missing) {
				missing.Server = ""
			}
			c.say(levelProblem, "webhooks", "%s: %v", w.Name, err)
		}
	}
	if bad == 0 {
		c.say(levelOK, "webhooks", "%s", count(len(out.Webhooks), "webhook"))
	}
}

// webhookWait is how long a webhook may take to be found and connected to.
const webhookWait = 5 * time.Second
