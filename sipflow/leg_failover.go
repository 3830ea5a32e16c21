package sipflow

import (
	"bytes"
	"strconv"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/wire"
)

// maxRetryAfter bounds how long a 503 keeps us from a hop, whatever it asks for.
const maxRetryAfter = 5 * time.Minute

// failed puts a hop behind the others for a while (RFC 3263 §4.3): as long as
// its 503 asks for, else as the resolver is configured. res is nil when there
// was no response.
func (sw *Switchboard) failed(hop resolve.Hop, res *wire.Message) {
	if after := retryAfter(res); after > 0 {
		sw.resolver.FailedFor(hop, min(after, maxRetryAfter))
		return
	}
	sw.resolver.Failed(hop)
}

// worked takes back what failed said, and what health checks found.
func (sw *Switchboard) worked(hop resolve.Hop) {
	sw.resolver.Succeeded(hop)
	if sw.health.down.Load() > 0 {
		sw.answered(hop)
	}
}

// retryAfter reads Retry-After (RFC 3261 §20.33); 0 when there is none.
func retryAfter(res *wire.Message) time.Duration {
	if res == nil {
		return 0
	}
	v := res.Get(wire.RetryAfter)
	if i := bytes.IndexAny(v, " \t;("); i >= 0 {
		v = v[:i]
	}
	n, err := strconv.ParseUint(string(v), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
