//go:build interop

package interop

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/emiago/sipgo/sip"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/sipflow/siptest"
)

// transferor is a phone of our own that is in two calls and joins their far ends.
// No phone of the lab can be told on which of its calls to send the REFER.
type transferor struct {
	*siptest.Phone
	t    *testing.T
	addr string
}

// withTransferor starts a lab with the phone 205.
func withTransferor(t *testing.T) (*lab.Lab, transferor) {
	t.Helper()
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(lab.Ports(t, 1)))
	l := lab.Start(t, map[string]string{"205": addr})
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	p := siptest.NewPhone(conn, siptest.Account{User: "205", Domain: lab.Domain, Password: lab.Password,
		Proxy: netip.MustParseAddrPort(l.Proxy.Addr)}, siptest.Script{})
	t.Cleanup(p.Close)
	return l, transferor{p, t, addr}
}

// awaitCalls waits until the phone is in n calls, and returns their Call-IDs.
func (p transferor) awaitCalls(n int) []string {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.t.Context(), lab.Patience)
	defer stop()
	if err := p.Wait(ctx, func() bool { return len(p.Calls()) == n }); err != nil {
		p.t.Fatalf("is to be in %d calls: %v", n, err)
	}
	return p.Calls()
}

// consult calls user while the phone is in its first call.
func (p transferor) consult(user *lab.Linphone) (first, second string) {
	p.t.Helper()
	first = p.awaitCalls(1)[0]
	ctx, stop := context.WithTimeout(p.t.Context(), lab.Patience)
	defer stop()
	called := make(chan error, 1)
	go func() { called <- p.Call(ctx, "sip:"+user.User+"@"+lab.Domain) }()
	user.AwaitRinging()
	user.Answer()
	if err := <-called; err != nil {
		p.t.Fatal(err)
	}
	return first, p.awaitCalls(2)[1]
}

// refer sends a REFER in one call that names the other.
func (p transferor) refer(in, names string) {
	p.t.Helper()
	to, err := p.ReferTo(names)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(p.t.Context(), lab.Patience)
	defer stop()
	res, err := p.DoIn(ctx, in, siptest.Action{Method: sip.REFER, Header: []sip.Header{to, sip.NewHeader("Contact", "<sip:205@"+p.addr+">")}})
	if err != nil || res.StatusCode != 202 {
		p.t.Fatalf("REFER: %v %v", res, err)
	}
}

// The phone that is consulted calls the service, and takes the place in the call that
// the service keeps (RFC 3891).
func TestAttendedTransferOnTheConsultationCall(t *testing.T) {
	t.Parallel()
	l, p := withTransferor(t)
	calling := l.Phone("201", lab.PhoneConfig{})
	third := l.Linphone("203", 600)
	s := l.Service()

	s.Post("/callcontroller/201/205" + byInvite)
	calling.AwaitInCallWith("201")
	first, second := p.consult(third)
	p.refer(second, first)
	p.awaitCalls(1) // its first call is over
	calling.AwaitTone(third.Tone, "203")
	calling.AwaitTalk()
	s.AwaitDialogs("/callcontroller/201/203?agent=201", "Confirmed Dialog", "Terminated Dialog", "Confirmed Dialog")
	p.HangUp()
	third.AwaitEnded(1)
	calling.AwaitAudio() // it goes on
	calling.HangUp()
	third.AwaitEnded(2)
}

// The phone at the other end of the service's call is referred, and takes the place in
// the consultation call, of which the service knows nothing.
func TestAttendedTransferOnTheFirstCall(t *testing.T) {
	t.Parallel()
	l, p := withTransferor(t)
	calling, third := l.Linphone("201", 500), l.Linphone("203", 600)
	s := l.Service()

	s.Post("/callcontroller/201/205" + byInvite)
	calling.AwaitRinging()
	calling.Answer()
	first, second := p.consult(third)
	p.refer(first, second)
	p.awaitCalls(1) // the consultation is over
	calling.AwaitInCallWith("203")
	third.AwaitInCallWith("201")
	p.HangUp()
	calling.AwaitEnded(1)
	third.AwaitEnded(1)
	calling.HangUp()
	third.AwaitEnded(2)
}
