package event

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"sipxrest/internal/webhook"
)

// pauses are before the attempts after the first one: eleven attempts in about 28
// hours.
var pauses = [...]time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour}

const (
	// maxTries is how often an event is sent before it is a dead letter.
	maxTries = len(pauses) + 1
	// maxRetryAfter bounds what a receiver may ask for.
	maxRetryAfter = time.Hour
	// overtake is how long an event waits for the ones of its call before it.
	overtake = 10 * time.Minute
	// failures in a row, and how long all must have failed, until a webhook is
	// taken for failing, and is tried once in probePause only.
	failures   = 20
	failTime   = 5 * time.Minute
	probePause = time.Minute
	// suspicious failures in a row let a webhook have few requests at once.
	suspicious = 5
	// giveUp is how long a webhook may fail until it is disabled.
	giveUp = 5 * 24 * time.Hour
)

// pause returns how long to wait after so many tries. Pauses differ by a fifth, so
// that what has failed together does not come back together.
func pause(tries int) time.Duration {
	d := pauses[min(max(tries, 1), len(pauses))-1]
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// verdict is what became of one request.
type verdict struct {
	taken bool
	gone  bool // 410
	// wait is how long the receiver asks to be left alone; rest, that it is about
	// everything and not this event alone.
	wait time.Duration
	rest bool
	text string // what went wrong
}

// judgePost returns what the outcome of a post means.
func judgePost(p webhook.Posted, err error) verdict {
	switch {
	case err != nil:
		return verdict{text: err.Error()}
	case p.Code/100 == 2:
		return verdict{taken: true}
	}
	v := verdict{text: fmt.Sprintf("it answers %d %s", p.Code, http.StatusText(p.Code))}
	switch p.Code {
	case http.StatusGone:
		v.gone = true
		v.text += ": nothing is sent any more until it is enabled"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		v.wait, v.rest = min(p.RetryAfter, maxRetryAfter), true
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		v.wait = min(p.RetryAfter, maxRetryAfter)
	}
	if p.Code/100 == 3 {
		v.text += ", and redirects are not followed: set the URL that it leads to"
	}
	return v
}

// errTimeout says that timeout_ms is over.
var errTimeout = errors.New("no answer in time")
