package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxWait bounds for how long an answer may be put off: less than the listener
// gives any answer.
const maxWait = 25 * time.Second

// preferredWait reads Prefer: wait=N, in seconds (RFC 7240 §4.3); 0 for none. A
// preference that cannot be read is ignored, as that RFC says, and one that is
// longer than maxWait is met as far as possible.
func preferredWait(h http.Header) time.Duration {
	for _, line := range h["Prefer"] {
		for item := range strings.SplitSeq(line, ",") {
			item, _, _ = strings.Cut(item, ";")
			name, value, ok := strings.Cut(item, "=")
			if !ok || !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil {
				return 0
			}
			return min(time.Duration(n)*time.Second, maxWait)
		}
	}
	return 0
}

// wait takes a place among the answers that are put off, and says so. free gives
// it back.
func (a *API) wait(w http.ResponseWriter, d time.Duration) (free func(), why *Problem) {
	if a.waits.Add(1) > int64(a.cfg.Waits) {
		a.waits.Add(-1)
		return nil, refuse(Overloaded, "waiting requests").after(5 * time.Second)
	}
	// The listener's deadline for reading would end the request's context.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // a test's recorder has none
	w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(d/time.Second)))
	return func() { a.waits.Add(-1) }, nil
}

// etag is the entity tag of a version.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// matchesTag reports whether a list of entity tags has tag, or is "*".
func matchesTag(lines []string, tag string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			item = strings.TrimSpace(item)
			if item == "*" || strings.TrimPrefix(item, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// unchanged reports whether the client has that version already (If-None-Match).
func unchanged(r *http.Request, version int64) bool {
	return matchesTag(r.Header["If-None-Match"], etag(version))
}

// ifMatch refuses a change of another version than the one that the client knows.
func ifMatch(r *http.Request, version int64) *Problem {
	said := r.Header["If-Match"]
	if len(said) == 0 || matchesTag(said, etag(version)) {
		return nil
	}
	p := refuse(ChangedMeanwhile, version, strings.Trim(clip(strings.Join(said, ", "), 64), `"`))
	return p.with("ETag", etag(version))
}
