package sipflow

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// scenario is one REFER call to the phone 201.
type scenario struct {
	name    string // of the golden ladder
	script  siptest.Script
	spec    func(*Spec)
	cfg     func(*Config)
	proxied bool          // through a proxy that challenges and record-routes
	during  func(r *rig)  // runs once the call is placed
	lasts   time.Duration // the call is over by then; default 5 min

	status string // status lines of the call
	err    string // part of how the call ended; "" for connected
	// under loss the call may end otherwise, but not leave the phone off-hook
	offHook bool // the phone's own fault keeps it off-hook
}

func notify(after time.Duration, line, state string) siptest.Notify {
	return siptest.Notify{After: after, Line: "SIP/2.0 " + line, State: state}
}

const overWith = "terminated;reason=noresource"

var challenged = siptest.Challenge{Methods: []sip.RequestMethod{"INVITE", "REFER", "BYE"}, Realm: "sipx.test", User: "200",
	Password: "secret"}

func asking(f func(*siptest.Challenge)) siptest.Challenge {
	c := challenged
	f(&c)
	return c
}

// overWebSocket has a phone be one in a browser, behind a proxy at its address.
func overWebSocket(s siptest.Script) siptest.Script {
	s.Contact, s.RecordRoute = "<sip:7c1f@df7jal23ls0d.invalid;transport=ws;ob>", []string{"<sip:10.0.0.2:5060;lr>"}
	return s
}

var scenarios = []scenario{
	{name: "connected", script: siptest.Script{Trying: true, Ring: 2 * time.Second},
		status: "INVITE 100 Trying, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "connected-through-challenging-proxy", proxied: true, script: siptest.Script{Ring: 2 * time.Second},
		status: "INVITE 407 Proxy Authentication Required, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, " +
			"NOTIFY 200 OK"},
	{name: "every-request-challenged", script: siptest.Script{Challenge: challenged},
		status: "INVITE 407 Proxy Authentication Required, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, " +
			"NOTIFY 200 OK"},
	{name: "challenged-401", script: siptest.Script{Challenge: asking(func(c *siptest.Challenge) { c.Status = 401 })},
		status: "INVITE 401 Unauthorized, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "challenged-sha256-first", script: siptest.Script{Challenge: asking(func(c *siptest.Challenge) {
		c.Algorithms = []string{"SHA-512-256", "SHA-256", "MD5"}
	})},
		status: "INVITE 407 Proxy Authentication Required, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, " +
			"NOTIFY 200 OK"},
	{name: "challenged-stored-md5-hash", spec: func(s *Spec) {
		s.Credentials = Credentials{Username: "200", HA1: "977114da62a9ab5a02d4c5568336278e"}
	}, script: siptest.Script{Challenge: asking(func(c *siptest.Challenge) { c.Algorithms = []string{"SHA-256", "MD5"} })},
		status: "INVITE 407 Proxy Authentication Required, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, " +
			"NOTIFY 200 OK"},
	{name: "challenged-without-qop", script: siptest.Script{Challenge: asking(func(c *siptest.Challenge) { c.NoQOP = true })},
		status: "INVITE 407 Proxy Authentication Required, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, " +
			"NOTIFY 200 OK"},
	{name: "challenged-stale-once", script: siptest.Script{Challenge: asking(func(c *siptest.Challenge) {
		c.StaleOnce, c.Methods = true, []sip.RequestMethod{"INVITE"}
	})},
		status: "INVITE 407 Proxy Authentication Required, INVITE 407 Proxy Authentication Required, INVITE 180 Ringing, INVITE 200 OK, " +
			"NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "challenged-two-realms", script: siptest.Script{Challenge: asking(func(c *siptest.Challenge) {
		c.Extra, c.Methods = []string{`Digest realm="elsewhere", nonce="x1", qop="auth"`}, []sip.RequestMethod{"INVITE"}
	})},
		status: "INVITE 407 Proxy Authentication Required, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, " +
			"NOTIFY 200 OK"},
	{name: "challenged-foreign-realm", script: siptest.Script{Challenge: asking(func(c *siptest.Challenge) { c.Realm = "evil.example" })},
		status: "INVITE 407 Proxy Authentication Required, INVITE 403 Forbidden", err: "407"},
	{name: "credentials-refused", script: siptest.Script{Challenge: asking(func(c *siptest.Challenge) { c.Always = true })},
		status: "INVITE 407 Proxy Authentication Required, INVITE 407 Proxy Authentication Required, INVITE 407 Proxy Authentication " +
			"Required, INVITE 403 Forbidden", err: "407"},

	{name: "record-routed-contact-with-params", script: siptest.Script{Refer: siptest.Refer{NoNotify: true},
		RecordRoute: []string{"<sip:10.0.0.2:5060;lr;x=1>", "<sip:10.0.0.2:5060;r2=on;lr>"},
		Contact:     `"Bob" <sip:201@10.0.0.2:5060;transport=udp;ob>;expires=60`},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: errNoNotify.Error()},
	{name: "strict-router", script: siptest.Script{RecordRoute: []string{"<sip:10.0.0.2:5060>"}, Refer: siptest.Refer{NoNotify: true}},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: errNoNotify.Error()},

	{name: "reliable-prack-challenged", script: siptest.Script{Ring: 3 * time.Second, Early: []siptest.Early{
		{After: time.Second, Reliable: true, SDP: true}, {After: 2 * time.Second, Status: 180, Reliable: true}},
		Challenge: asking(func(c *siptest.Challenge) { c.Methods = []sip.RequestMethod{"INVITE", "PRACK"} })},
		status: "INVITE 407 Proxy Authentication Required, INVITE 180 Ringing, INVITE 183 Session Progress, INVITE 180 Ringing, " +
			"INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "early-requests-of-a-referred-phone", script: askingEarly(false),
		status: "INVITE 180 Ringing, INVITE 183 Session Progress, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "client-hangs-up-subscribe-challenged", script: siptest.Script{
		Refer:     siptest.Refer{Notify: []siptest.Notify{notify(0, "100 Trying", "")}},
		Answers:   map[sip.RequestMethod]int{"SUBSCRIBE": 200},
		Challenge: asking(func(c *siptest.Challenge) { c.Methods = []sip.RequestMethod{"SUBSCRIBE", "BYE"} })},
		during: func(r *rig) {
			time.Sleep(500 * time.Millisecond)
			if err := r.sw.HangUp(r.t.Context(), spec().Key); err != nil {
				r.t.Errorf("HangUp: %v", err)
			}
		},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying", err: ErrHungUpByUser.Error()},

	{name: "called-progresses-183", script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
		notify(0, "100 Trying", ""), notify(time.Second, "183 progress", ""), notify(4*time.Second, "200 OK", overWith)}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 183 progress, NOTIFY 200 OK"},
	{name: "called-answers-without-ringing", script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
		notify(0, "100 Trying", ""), notify(time.Second, "200 OK", ""), notify(2*time.Second, "200 OK", overWith)}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 200 OK, NOTIFY 200 OK"},
	{name: "called-busy", script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
		notify(0, "100 Trying", ""), notify(time.Second, "486 Busy Here", overWith)}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 486 Busy Here", err: "486 Busy Here"},
	{name: "called-declines-after-ringing-outcome", cfg: func(c *Config) { c.HangUpOn = Outcome },
		script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
			notify(0, "180 Ringing", ""), notify(3*time.Second, "603 Decline", overWith)}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 180 Ringing, NOTIFY 603 Decline", err: "603"},
	{name: "notify-without-body", script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
		{State: overWith, ContentType: "message/sipfrag", Body: " "}}}},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: "without an outcome"},
	{name: "notify-without-subscription-state", script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
		notify(0, "100 Trying", "-"), notify(time.Second, "200 OK", "-")}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 200 OK"},
	{name: "notify-before-202", script: siptest.Script{Refer: siptest.Refer{Early: true}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},

	{name: "asterisk-invites-again-before-the-refer", script: siptest.AsteriskDirectMedia(),
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "asterisk-is-not-ready-for-a-while", script: siptest.AsteriskNotReady(90*time.Millisecond, "SIP/2.0 400 Bad Request"),
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "asterisk-is-not-ready-for-longer", script: siptest.AsteriskNotReady(400*time.Millisecond, "SIP/2.0 503 Service Unavailable"),
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 503 Service Unavailable, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "asterisk-is-never-ready", script: siptest.AsteriskNotReady(time.Hour, "SIP/2.0 400 Bad Request"),
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 400 Bad Request, NOTIFY 400 Bad Request", err: "400"},
	{name: "linphone-declined-and-left-active", script: siptest.LinphoneDeclined(),
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 603 Decline", err: "603"},
	{name: "called-answers-and-is-left-active", cfg: func(c *Config) { c.HangUpOn = Outcome },
		script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{notify(0, "180 Ringing", ""),
			notify(time.Second, "200 OK", "active")}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "called-is-queued", script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
		notify(0, "100 Trying", ""), notify(time.Second, "182 Queued", ""), notify(4*time.Second, "200 OK", overWith)}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 182 Queued, NOTIFY 200 OK"},
	{name: "calling-hangs-up-before-it-reports", script: siptest.OutOfOrder(), cfg: func(c *Config) { c.HangUpOn = Outcome },
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},

	{name: "calling-busy", script: siptest.Script{Status: 486, Ringing: -1}, status: "INVITE 486 Busy Here", err: "486"},
	{name: "calling-redirects", script: siptest.Script{Status: 302, RedirectTo: "<sip:900@evil.example>"},
		status: "INVITE 180 Ringing, INVITE 302 Moved Temporarily", err: "302"},
	{name: "calling-declines-then-timeout", script: siptest.Script{Status: 603, Ring: time.Second},
		status: "INVITE 180 Ringing, INVITE 603 Decline", err: "603"},

	{name: "calling-does-not-answer", script: siptest.Script{NeverAnswer: true},
		status: "INVITE 180 Ringing, INVITE 487 Request Terminated", err: ErrNoAnswer.Error()},
	{name: "calling-only-trying", script: siptest.Script{NeverAnswer: true, Trying: true, Ringing: -1},
		status: "INVITE 100 Trying, INVITE 487 Request Terminated", err: ErrNoAnswer.Error()},
	{name: "calling-silent", script: siptest.Script{Silent: true}, status: "INVITE 408 Request Timeout", err: ErrNoAnswer.Error()},
	{name: "nobody-there-timer-b", script: siptest.Script{Silent: true}, spec: func(s *Spec) { s.Timeout = 0 },
		status: "INVITE 408 Request Timeout", err: "408"},
	{name: "no-time-limit", script: siptest.Script{Ring: 10 * time.Minute}, spec: func(s *Spec) { s.Timeout = 0 }, lasts: 20 * time.Minute,
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "answer-crosses-cancel", script: siptest.Script{NeverAnswer: true, AnswerOnCancel: true},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: ErrNoAnswer.Error()},
	{name: "cancel-ignored-answers-later", script: siptest.Script{Ring: 40 * time.Second, IgnoreCancel: true},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: ErrNoAnswer.Error()},
	{name: "cancel-ignored-answers-after-all-hope", script: siptest.Script{Ring: 90 * time.Second, IgnoreCancel: true},
		status: "INVITE 180 Ringing", err: ErrNoAnswer.Error()},

	{name: "refer-refused-603", script: siptest.Script{Refer: siptest.Refer{Status: 603}},
		status: "INVITE 180 Ringing, INVITE 200 OK, REFER 603 Decline", err: "603"},
	{name: "refer-refused-405", script: siptest.Script{Refer: siptest.Refer{Status: 405}},
		status: "INVITE 180 Ringing, INVITE 200 OK, REFER 405 Method Not Allowed", err: "405"},
	{name: "refer-accepted-no-notify", script: siptest.Script{Refer: siptest.Refer{NoNotify: true}},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: errNoNotify.Error()},
	{name: "refer-unanswered", script: siptest.Script{Refer: siptest.Refer{Silent: true}},
		status: "INVITE 180 Ringing, INVITE 200 OK, REFER 408 Request Timeout", err: "408"},

	{name: "calling-hangs-up-at-once", script: siptest.Script{HangUpAfter: time.Millisecond, Refer: siptest.Refer{Silent: true}},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: ErrHungUp.Error()},
	{name: "calling-hangs-up-as-it-is-referred", script: siptest.Script{HangUpAfter: referLead + time.Millisecond,
		Refer: siptest.Refer{Silent: true}},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: ErrHungUp.Error()},
	{name: "calling-hangs-up-while-called-rings", cfg: func(c *Config) { c.HangUpOn = Outcome },
		script: siptest.Script{HangUpAfter: 2 * time.Second, Refer: siptest.Refer{Notify: []siptest.Notify{
			notify(0, "180 Ringing", "")}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 180 Ringing", err: ErrHungUp.Error()},
	{name: "bye-unanswered", script: siptest.Script{Bye: siptest.Bye{Silent: true}}, offHook: true,
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK", err: errTimeout.Error()},
	{name: "bye-refused-481", script: siptest.Script{Bye: siptest.Bye{Status: 481}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK", err: "481"},
	{name: "other-requests-in-the-call", cfg: func(c *Config) { c.HangUpOn = Outcome },
		script: siptest.Script{
			Do: []siptest.Action{{After: time.Second, Method: "OPTIONS"}, {After: 2 * time.Second, Method: "INFO"},
				{After: 3 * time.Second, Method: "INVITE"}, {After: 4 * time.Second, Method: "MESSAGE"}, {After: 5 * time.Second, Method: "FOO"}},
			Refer: siptest.Refer{Notify: []siptest.Notify{notify(0, "180 Ringing", ""), notify(6*time.Second, "200 OK", overWith)}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 180 Ringing, NOTIFY 200 OK"},

	{name: "answer-repeated-ack-lost", script: siptest.Script{LoseACKs: 2},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "answer-repeated-for-10s", script: siptest.Script{RepeatAfterACK: 10 * time.Second},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "forked-answers", script: siptest.Script{Forks: 2},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "forked-answers-with-early-dialogs", script: siptest.Script{EarlyForks: 2, Forks: 2, Ring: time.Second},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "forked-answers-without-contact", script: siptest.Script{Forks: 1, NoContact: true},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: "no Contact"},
	{name: "answer-without-contact", script: siptest.Script{NoContact: true},
		status: "INVITE 180 Ringing, INVITE 200 OK", err: "no Contact"},
	{name: "answer-without-sdp", script: siptest.Script{NoSDP: true},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},

	{name: "calling-is-a-browser", script: siptest.Script{Media: siptest.Browser()},
		status: "INVITE 180 Ringing, INVITE 488 Not Acceptable Here, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, " +
			"NOTIFY 200 OK"},
	{name: "calling-is-a-browser-behind-a-proxy", script: overWebSocket(siptest.Script{Media: siptest.Browser()}),
		status: "INVITE 180 Ringing, INVITE 488 Not Acceptable Here, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, " +
			"NOTIFY 200 OK"},
	{name: "calling-takes-srtp-only", script: siptest.Script{Media: siptest.SRTPOnly(), Ringing: -1},
		status: "INVITE 488 Not Acceptable Here, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},

	{name: "replaced-while-ringing", script: siptest.Script{Ring: 8 * time.Second},
		during: func(r *rig) { time.Sleep(3 * time.Second); r.place(spec()) },
		status: "INVITE 180 Ringing, INVITE 487 Request Terminated, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, " +
			"NOTIFY 200 OK",
		err: ErrReplaced.Error()},
	{name: "placed-again-when-the-refer-is-accepted", cfg: func(c *Config) { c.HangUpOn = Outcome },
		during: func(r *rig) { time.Sleep(500 * time.Millisecond); r.placeAgain() },
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "placed-again-while-called-rings",
		during: func(r *rig) { time.Sleep(2 * time.Second); r.placeAgain() },
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "placed-again-after-called-was-busy",
		script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{notify(0, "486 Busy Here", overWith)}}},
		during: func(r *rig) { time.Sleep(time.Second); r.placeAgain() },
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 486 Busy Here, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 486 Busy Here", err: "486"},
	{name: "client-hangs-up-before-called-rings-refer", script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
		notify(0, "100 Trying", ""), notify(2*time.Second, "180 Ringing", ""), notify(4*time.Second, "200 OK", overWith)}}},
		during: func(r *rig) {
			time.Sleep(500 * time.Millisecond)
			if err := r.sw.HangUp(r.t.Context(), spec().Key); err != nil {
				r.t.Errorf("HangUp: %v", err)
			}
		},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK", err: ErrHungUpByUser.Error()},
	{name: "replaced-when-answered", cfg: func(c *Config) { c.HangUpOn = Outcome },
		script: siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
			notify(0, "100 Trying", ""), notify(9*time.Second, "200 OK", overWith)}}},
		during: func(r *rig) { time.Sleep(6 * time.Second); r.placeAgain() },
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 200 OK, " +
			"NOTIFY 200 OK",
		err: ErrReplaced.Error()},

	{name: "subject-pin-and-forwarding", script: siptest.Script{}, spec: func(s *Spec) {
		s.Subject, s.ConfPIN, s.ForwardingAllowed = "Call to Bob", "1&2=3 x", true
	}, status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
}

// run plays a scenario on a network. strict compares what the client sees.
func (sc *scenario) run(t *testing.T, n *siptest.Network, strict bool) {
	hop := phoneAddr
	var phone *siptest.Phone
	if sc.proxied {
		hop = proxyAddr
		p := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"200": "secret", "201": "x"},
			Locations: map[string]string{"201": "sip:201@" + phoneAddr}})
		defer p.Close()
	}
	phone = n.Phone("201", phoneAddr, sc.script)
	defer phone.Close()
	r := newRig(t, n, hop, func(c *Config) {
		if sc.cfg != nil {
			sc.cfg(c)
		}
	})
	defer r.stop()
	c := r.place(spec(func(s *Spec) {
		if sc.spec != nil {
			sc.spec(s)
		}
	}))
	if sc.during != nil {
		sc.during(r)
	}
	time.Sleep(max(sc.lasts, 5*time.Minute))
	synctest.Wait()
	select {
	case <-c.Done():
	default:
		t.Error("the call is not over")
		c.stop(errors.New("test over"))
		<-c.Done()
	}
	if !phone.OnHook() && !sc.offHook {
		t.Errorf("the phone is off-hook; it saw %s", strings.Join(phone.Log(), "\n"))
	}
	if strict {
		if got := r.status(); got != sc.status {
			t.Errorf("status lines:\n got %s\nwant %s", got, sc.status)
		}
		if err := c.Err(); (sc.err == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), sc.err)) {
			t.Errorf("call ended with %v, want %q", err, sc.err)
		}
	}
	r.empty()
}

// Each flow of the original, as we do it, message by message.
func TestReferFlows(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			flowtest.Ladder(t, sc.name, func(t *testing.T, n *siptest.Network) { sc.run(t, n, true) })
		})
	}
}

// Each flow again with each of its messages lost once: whatever becomes of the
// call, the phone is on-hook and nothing is left behind.
func TestReferFlowsSurviveLoss(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { sc.run(t, n, false) })
		})
	}
}
