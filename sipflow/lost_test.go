package sipflow

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// overTCP runs f with a phone that is called over TCP and has the INVITE.
func overTCP(t *testing.T, f func(t *testing.T, r *rig, p *rawPhone, c *Call)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := rawTCP(t, n, phoneAddr)
		r := newRig(t, n, phoneAddr+";transport=tcp")
		defer r.stop()
		c := r.place(spec())
		p.accept()
		p.invite = p.expect("INVITE")
		f(t, r, p, c)
		r.empty()
	})
}

func TestConnectionThatEndsBeforeTheAnswerFailsTheCallAtOnce(t *testing.T) {
	overTCP(t, func(t *testing.T, r *rig, p *rawPhone, c *Call) {
		start := time.Now()
		p.conn.Close()
		<-c.Done()
		if d := time.Since(start); d > time.Second || !errors.Is(c.Err(), errLost) {
			t.Errorf("ended after %v with %v", d, c.Err())
		}
	})
}

func TestConnectionThatEndsWhileThePhoneRingsIsNoMatter(t *testing.T) {
	overTCP(t, func(t *testing.T, r *rig, p *rawPhone, c *Call) {
		p.send(p.response(p.invite, 180, "", ""))
		p.conn.Close()
		time.Sleep(5 * time.Second)
		own, err := r.net.DialFrom("10.0.0.2")(t.Context(), "tcp", ourAddr)
		if err != nil {
			t.Fatal(err)
		}
		p.use(own)
		p.send(p.response(p.invite, 200, p.contact(), ""))
		p.accept()
		p.expect("ACK")
		p.send(p.response(p.expect("REFER"), 202, p.contact(), "") + p.notify(1, "180 Ringing", "active"))
		p.hungUp()
		<-c.Done()
		if c.Err() != nil {
			t.Errorf("ended with %v", c.Err())
		}
	})
}

func TestBYEThatIsLostWithItsConnectionIsSentOverAnother(t *testing.T) {
	overTCP(t, func(t *testing.T, r *rig, p *rawPhone, c *Call) {
		p.send(p.response(p.invite, 180, "", "") + p.response(p.invite, 200, p.contact(), ""))
		p.expect("ACK")
		p.send(p.response(p.expect("REFER"), 202, p.contact(), "") + p.notify(1, "180 Ringing", "active"))
		first := p.expect("BYE")
		p.conn.Close()
		p.accept()
		if again := p.hungUp(); again.Seq() <= first.Seq() {
			t.Errorf("CSeq %d after %d", again.Seq(), first.Seq())
		}
		<-c.Done()
		if c.Err() != nil {
			t.Errorf("ended with %v", c.Err())
		}
	})
}

// The connection ends while the REFER waits for its time: the phone cannot have had
// it, so that it goes over a new one, with the same number and after the same wait.
func TestAReferThatHasNotBeenSentOutlivesItsConnection(t *testing.T) {
	for name, again := range map[string]bool{"once": false, "again and again": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				p := rawTCP(t, n, phoneAddr)
				r := newRig(t, n, phoneAddr+";transport=tcp")
				defer r.stop()
				c := r.place(spec())
				p.accept()
				p.answer()
				time.Sleep(referLead / 2)
				p.conn.Close()
				began := time.Now()
				p.accept()
				if again {
					time.Sleep(referLead / 2)
					p.conn.Close()
					p.accept()
					p.hungUp() // it is given up
					<-c.Done()
					if !errors.Is(c.Err(), errUnsent) {
						t.Errorf("ended with %v", c.Err())
					}
					p.conn.Close()
					r.empty()
					return
				}
				refer := p.expect("REFER")
				if d := time.Since(began); d < referLead || d > referLead+2*leadTick {
					t.Errorf("it was sent after %v, want %v", d, referLead)
				}
				if want := p.invite.Seq() + 1; refer.Seq() != want {
					t.Errorf("CSeq %d, want %d", refer.Seq(), want)
				}
				p.send(p.response(refer, 202, p.contact(), "") + p.notify(1, "180 Ringing", "active"))
				p.hungUp()
				<-c.Done()
				if c.Err() != nil {
					t.Errorf("ended with %v", c.Err())
				}
				p.conn.Close()
				r.empty()
			})
		})
	}
}
