package sipflow

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// What of a call by REFER can be known depends on when we hang up, on what the calling
// phone reports and on when it does: before our BYE, while we listen after it, or later.
func TestWhatIsKnownOfACallByREFER(t *testing.T) {
	reports := []string{"100 Trying", "180 Ringing", "183 Session Progress", "200 OK", "486 Busy Here", "none"}
	var table strings.Builder
	for _, on := range []HangUpOn{Progressing, Outcome} {
		for _, report := range reports {
			for _, when := range []string{"before", "within", "after"} {
				name := fmt.Sprintf("%s/%s/%s", on, report, when)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						n := siptest.NewNetwork()
						phone := n.Phone("201", phoneAddr, siptest.Script{Refer: siptest.Refer{Notify: referReports(report, when)}})
						defer phone.Close()
						r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = on })
						defer r.stop()
						c := r.place(spec())
						id := c.ID()
						<-c.Done()
						if r.sw.ByID(id) != nil {
							t.Error("a call whose flow has returned is found by its id")
						}
						r.empty()
						lines := r.stories.calls[id].lines
						for _, line := range lines {
							if strings.HasPrefix(line, "connected") {
								t.Errorf("the parties are said to talk: %s", line)
							}
						}
						lines = slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
							return !strings.HasPrefix(l, "l2") && !strings.HasPrefix(l, "released") && !strings.HasPrefix(l, "ended")
						})
						fmt.Fprintf(&table, "%s\n\t%s\n", name, strings.Join(lines, "\n\t"))
					})
				})
			}
		}
	}
	if !t.Failed() {
		goldenText(t, "refer-matrix", table.String())
	}
}

// referReports are the NOTIFYs of a phone that reports something at a time: before the
// BYE, which a 180 brings about where anything does, soon after it, or when nobody
// listens any more.
func referReports(report, when string) []siptest.Notify {
	first := []siptest.Notify{notify(0, "100 Trying", "")}
	after := time.Second
	switch when {
	case "within":
		first = append(first, notify(time.Second, "180 Ringing", ""))
		after = 10 * time.Second
	case "after":
		first = append(first, notify(time.Second, "180 Ringing", ""))
		after = 50 * time.Second
	}
	if report == "none" {
		return first
	}
	state := ""
	if report[0] >= '2' {
		state = overWith
	}
	return append(first, notify(after, report, state))
}
