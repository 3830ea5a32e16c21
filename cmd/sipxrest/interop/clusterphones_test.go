//go:build interop

package interop

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// renewed counts the INVITEs and UPDATEs within calls that the proxy has passed on for a node.
func renewed(l *lab.Lab, n *lab.Node) (count int) {
	seen := map[string]bool{}
	re := regexp.MustCompile(`ladder: (?:INVITE|UPDATE) \S+ from ` + regexp.QuoteMeta(n.SIP) + ` cseq (\S+) tag (\S+) callid (\S+)`)
	for _, line := range l.Proxy.Lines() {
		if m := re.FindStringSubmatch(line); m != nil && m[2] != "<null>" && !seen[m[3]+m[1]] {
			seen[m[3]+m[1]] = true
			count++
		}
	}
	return count
}

// Real phones behind a real proxy that stays in the way of requests (Record-Route): the node of
// their calls is killed. Those who talk notice nothing, and those that ring stop.
func TestRealPhonesTalkOnWithoutAGap(t *testing.T) {
	port := lab.Ports(t, 1)
	l := lab.Start(t, map[string]string{"5000": net.JoinHostPort("127.0.0.2", strconv.Itoa(port))})
	h := startHook(t)
	h.answers("") // never
	a, b := l.Phone("201", lab.PhoneConfig{}), l.Phone("202", lab.PhoneConfig{})
	ear, far := l.Ear("203"), l.Phone("204", lab.PhoneConfig{})
	manual, caller := l.Phone("205", lab.PhoneConfig{Manual: true}), l.Phone("206", lab.PhoneConfig{})
	c := l.Cluster(lab.ClusterConfig{Proxy: l.Proxy.Addr, SIPPort: port, More: []string{fmt.Sprintf(`dispatch:
  trunks: [{name: kamailio, sources: [127.0.0.1]}]
  rules:
  - {id: hook, numbers: ["5000"], url: %q, allow_http: true, allow_private: [127.0.0.1], timeout: 30s}`, h.URL)}})
	first := c.Nodes[0]
	post := func(path string) {
		t.Helper()
		if r := first.Do("POST", path); r.Code != 200 {
			t.Fatalf("POST %s: %d %s", path, r.Code, r.Body)
		}
	}
	const query = "?agent=201&sipMethod=invite&timeout=120"
	post("/callcontroller/201/202" + query)
	inCall(a, b)
	post("/callcontroller/203/204" + query)
	far.AwaitAudio()
	post("/callcontroller/205/202" + query)
	ringing := manual.AwaitRinging()
	caller.Dial("5000")
	h.await(l, "invite")

	ear.Reset()
	c.Until("203 hears 204", func() bool { return ear.Audio().Packets >= 100 })
	before := ear.Audio()
	first.Crash()
	killed := time.Now()
	c.Until("four phones have been asked again", func() bool { return renewed(l, c.Nodes[1])+renewed(l, c.Nodes[2]) >= 4 })
	took := time.Since(killed)
	asked := ear.Audio().Packets
	c.Until("203 hears 204 after it", func() bool { return ear.Audio().Packets >= asked+100 })
	heard := ear.Audio()
	t.Logf("all phones are asked again %v after the kill; %d packets of audio since, the longest gap is %v, %v before",
		took.Round(10*time.Millisecond), heard.Packets-before.Packets,
		heard.Longest.Round(time.Millisecond), before.Longest.Round(time.Millisecond))
	if took > takeoverLimit {
		t.Errorf("which is later than %v", takeoverLimit)
	}
	// A phone that its machine gave no time sends what it owes as soon as it has some. What it did
	// not say at all stays owed: at most 100 ms of it.
	if !heard.Whole() {
		t.Errorf("audio is lost or begins anew: %+v", heard)
	}
	c.Until("203 has heard all that 204 should have said", func() bool { a := ear.Audio(); return a.Owed() <= 100*time.Millisecond })
	manual.AwaitClosed(ringing.ID)
	if over := time.Since(killed); over > 2*takeoverLimit {
		t.Errorf("a phone rings on for %v", over)
	}
	refused := caller.Await("its call is over", func(c lab.Call) bool { return c.Outgoing && c.State == "closed" })
	if refused.Reason != "500 Service Unavailable" { // a proxy makes it of the 503 (RFC 3261 §16.7)
		t.Errorf("who has called in is told %q", refused.Reason)
	}

	// Who holds, resumes and hangs up reaches the new node.
	from := b.Mark()
	a.Hold()
	if _, err := b.AwaitLine(from, regexp.MustCompile(`^a=sendonly`), lab.Patience); err != nil {
		t.Fatal(err)
	}
	a.AwaitNothingHeard()
	a.Resume()
	a.AwaitAudio()
	b.AwaitAudio()
	far.Hold()
	l.Until("203 is on hold", func() bool { return strings.Contains(ear.Heard(), "a=sendonly") })
	far.Resume()
	l.Until("203 is on hold no more", func() bool { return !strings.Contains(ear.Heard(), "a=sendonly") })

	// The node that has them stands still, then hangs up what it believes to have: real phones
	// refuse that (RFC 3261 §12.2.2).
	zombie := c.Nodes[1]
	third := renewed(l, c.Nodes[2])
	has := renewed(l, zombie)
	zombie.Pause()
	frozen := time.Now()
	if has > 0 {
		c.Until("the third node asks its phones again", func() bool { return renewed(l, c.Nodes[2]) >= third+2 })
	}
	time.Sleep(time.Until(frozen.Add(standstill)))
	if err := zombie.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	zombie.Resume()
	if err := zombie.Wait(lab.Patience); err != nil {
		t.Errorf("the end of the node: %v", err)
	}
	inCall(a, b)
	far.AwaitAudio()
	b.HangUp()
	a.AwaitOnHook()
	far.HangUp()
	l.Until("203 is on-hook", ear.OnHook)
}
