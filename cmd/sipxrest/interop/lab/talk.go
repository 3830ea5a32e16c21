package lab

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"

	"sipxrest/talk/talktest"
)

// What Talk's calls need beside the users of every lab: the gateway's account
// is one of the proxy's, as is everybody's.
const (
	GatewayUser = "trunk"
	// TalkAgent is the user whose secret opens the way to the conference.
	TalkAgent = "201"
)

// Talk is Nextcloud Talk's side of calls to telephones: a signaling server and
// a Nextcloud that listen on loopback.
type Talk struct {
	*talktest.Lab
	// URL is the signaling server's, CloudURL the Nextcloud's.
	URL, CloudURL string

	server string // both, and the page of a TalkUser
}

// Talk starts both. They outlive the services that are started afterwards.
func (l *Lab) Talk() *Talk {
	l.tb.Helper()
	t := &Talk{Lab: talktest.New(l.tb)}
	both := http.NewServeMux()
	both.Handle("/", t.Lab)
	both.Handle("/talkpage/", http.FileServerFS(talkPage))
	server := httptest.NewServer(both)
	l.tb.Cleanup(server.Close)
	t.server = server.URL
	t.URL, t.CloudURL = server.URL+"/standalone-signaling", server.URL+"/nextcloud/"
	t.Cloud.Listen(t.CloudURL)
	return t
}

// TalkWith is Talk with a Janus that carries the media.
func (l *Lab) TalkWith(j *Janus) *Talk {
	l.tb.Helper()
	t := l.Talk()
	for _, feature := range []string{"mcu", "offer-codecs"} {
		if !slices.Contains(t.Features, feature) {
			t.Features = append(t.Features, feature)
		}
	}
	t.MCU, t.Address = j.MCU(), j.Here
	return t
}

// DialoutLines are the lines of a service's configuration that make it the
// bridge of t, with the lab's proxy as the gateway. Words of changes replace
// others: "secret: x" what stands behind "secret: ".
func (l *Lab) DialoutLines(t *Talk, changes ...string) string {
	lines := fmt.Sprintf(`dialout:
  servers:
    - url: %q
      secret: %s
      backends: [{url: %q, sip-secret: %s}]
  gateway: {uri: "sip:%s", user: %s, secret: "%s", domain: %s, default-number: "+4930123456"}
  room-target: "sip:{token}@%s"
  agent: "%s"
`, t.URL, talktest.Secret, t.CloudURL, talktest.SIPSecret, l.Proxy.Addr, GatewayUser, Password, Domain, Domain, TalkAgent)
	return strings.NewReplacer(changes...).Replace(lines)
}

// AudioLines are DialoutLines with the phones' audio in the conversation itself, by
// way of j. The phones name 127.0.0.1, but what they send to j.Here comes from there.
func (l *Lab) AudioLines(t *Talk, j *Janus, changes ...string) string {
	l.tb.Helper()
	rtp := Ports(l.tb, 64)
	return l.DialoutLines(t, append([]string{
		fmt.Sprintf("  room-target: \"sip:{token}@%s\"\n", Domain),
		fmt.Sprintf("  audio: {address: %s, rtp-ports: %d-%d, ice-port: %d, media-allow: [127.0.0.0/8, %s/32], media-nat: [%s/32]}\n",
			j.Here, rtp, rtp+61, rtp+62, j.Here, j.Here)}, changes...)...)
}

// Check runs "sipxrest check" with the configuration of s and further lines
// instead of its own, and answers what it prints and whether it found nothing
// wrong.
func (s *Service) Check(more ...string) (string, bool) {
	s.lab.tb.Helper()
	return s.Command("check", more)
}

// Command runs a command of sipxrest likewise, with flags of its own.
func (s *Service) Command(command string, more []string, flags ...string) (string, bool) {
	s.lab.tb.Helper()
	config := s.lab.write("check.yaml", s.base+strings.Join(more, "\n")+"\n")
	out, err := exec.Command(build(s.lab.tb), append([]string{command, "--config", config}, flags...)...).CombinedOutput()
	return string(out), err == nil
}
