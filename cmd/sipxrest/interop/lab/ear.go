package lab

import (
	"context"
	"net"
	"net/netip"

	"sipxrest/sipflow/siptest"
)

// Ear is a phone that listens closely: it sends audio as phones do, and knows the longest
// time in which none came.
type Ear struct {
	*siptest.Phone
	*siptest.Voice
}

// Ear starts such a phone for a user, registered at the lab's proxy.
func (l *Lab) Ear(user string) *Ear {
	l.tb.Helper()
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: Ports(l.tb, 2)})
		if err != nil {
			l.tb.Fatal(err)
		}
		return conn
	}
	signalling, audio := listen(), listen()
	sdp := siptest.VoiceSDP(user, audio)
	e := &Ear{}
	e.Phone = siptest.NewPhone(signalling, siptest.Account{User: user, Domain: Domain, Password: Password, Proxy: netip.MustParseAddrPort(l.Proxy.Addr)},
		siptest.Script{SDP: sdp, Reinvite: siptest.Reinvite{SDP: sdp}})
	e.Voice = siptest.NewVoice(audio, e.Heard)
	l.tb.Cleanup(func() {
		e.Voice.Close()
		e.Phone.Close()
	})
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := e.Register(ctx); err != nil {
		l.tb.Fatalf("phone %s: %v", user, err)
	}
	return e
}
