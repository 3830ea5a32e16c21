package sipflow

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
	"sipxrest/sipflow/wire"
)

// makes are the phones of which each pair is to come up, in each flow and each role,
// unless one speaks WebRTC and the other does not.
var makes = map[string]func() siptest.Media{
	"desk": siptest.Desk, "browser": siptest.Browser, "srtp only": siptest.SRTPOnly,
	"srtp optional": siptest.SRTPOptional, "opus only": siptest.OpusOnly, "no late offer": siptest.NoLateOffer, "gateway": siptest.Gateway,
}

// common reports whether two makes have something in common.
func common(a, b string) bool {
	for _, pair := range [...][2]string{{a, b}, {b, a}} {
		switch pair[0] {
		case "browser":
			return pair[1] == "browser"
		case "srtp only":
			return pair[1] == "srtp only" || pair[1] == "srtp optional"
		case "opus only":
			return pair[1] == "opus only"
		}
	}
	return true
}

// offerCases are calls whose phones do not play their part of flow IV, or of a transfer.
var offerCases = []bridgeCase{
	{name: "offer-called-takes-no-late-offer", calling: siptest.Script{Media: siptest.Desk()},
		called: siptest.Script{Media: siptest.NoLateOffer()},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "offer-called-takes-no-late-offer-and-no-known-one", calling: siptest.Script{Media: siptest.SRTPOnly()},
		called: siptest.Script{Ring: time.Second, Media: noLate(siptest.SRTPOnly())}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "offer-called-takes-no-offer-of-the-calling", calling: siptest.Script{Media: siptest.SRTPOptional()},
		called: siptest.Script{Media: siptest.NoLateOffer()}, flow: Dial, spec: dialling(nil), hangUp: 20 * time.Second,
		err: ErrHungUpByUser.Error()},
	{name: "offer-dial-phone-takes-no-audio-of-ours", calling: siptest.Script{Media: noLate(siptest.SRTPOnly())},
		called: siptest.Script{Media: siptest.SRTPOnly()}, flow: Dial, spec: dialling(nil), hangUp: 20 * time.Second,
		err: ErrHungUpByUser.Error()},
	{name: "offer-called-is-busy-the-second-time", calling: siptest.Script{Media: siptest.Desk()},
		called: siptest.Script{NeedOffer: true, Status: 486}, err: "486"},
	{name: "offer-calling-takes-no-late-offer", calling: siptest.Script{Media: siptest.NoLateOffer()},
		called: siptest.Script{Media: siptest.SRTPOptional()},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "offer-calling-refuses-it-and-offers", calling: siptest.Script{Media: siptest.Desk()},
		called: siptest.Script{Media: siptest.SRTPOptional()},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "offer-srtp-only", calling: siptest.Script{Media: siptest.SRTPOnly()}, called: siptest.Script{Media: siptest.SRTPOnly()},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "offer-opus-only", calling: siptest.Script{Media: siptest.OpusOnly()}, called: siptest.Script{Media: siptest.OpusOnly()},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "offer-browsers", calling: siptest.Script{Media: siptest.Browser()}, called: siptest.Script{Media: siptest.Browser()},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "offer-browsers-behind-a-proxy", calling: overWebSocket(siptest.Script{Media: siptest.Browser()}),
		called: siptest.Script{Ring: 40 * time.Second, Media: siptest.Browser()}, spec: ringingLong, hangUp: time.Minute,
		err: ErrHungUpByUser.Error()},
	{name: "offer-browsers-of-which-the-called-rings-for-long", calling: siptest.Script{Media: siptest.Browser()},
		called: siptest.Script{Ring: 40 * time.Second, Media: siptest.Browser()}, err: ErrNoAnswer.Error()},
	{name: "offer-browsers-are-not-referred", flow: Refer, spec: byRefer, cfg: fallback, called: siptest.Script{Media: siptest.Browser()},
		calling: siptest.Script{Media: siptest.Browser(), Refer: siptest.Refer{Status: 405}}, hangUp: 20 * time.Second,
		err: ErrHungUpByUser.Error()},
	{name: "offer-browser-calls-a-desk-phone", calling: siptest.Script{Media: siptest.Browser()},
		called: siptest.Script{Media: siptest.Desk()},
		status: "INVITE 180 Ringing, INVITE 488 Not Acceptable Here, INVITE 180 Ringing, INVITE 200 OK, INVITE 180 Ringing, " +
			"INVITE 488 Not Acceptable Here, INVITE 488 One Phone Speaks WebRTC, the Other One RTP",
		err: "One Phone Speaks WebRTC, the Other One RTP: nobody converts between them"},
	{name: "offer-desk-phone-calls-a-browser", calling: siptest.Script{Media: siptest.Desk()},
		called: siptest.Script{Media: siptest.Browser()},
		err:    "One Phone Speaks WebRTC, the Other One RTP: nobody converts between them"},
	{name: "offer-gateways", calling: siptest.Script{Media: siptest.Gateway()}, called: siptest.Script{Media: siptest.Gateway()},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(), during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			_, invite := multipartOf(held("10.0.0.2"))
			do(t, p.calling, 200, siptest.Action{Method: "INVITE", ContentType: "multipart/mixed;boundary=cut", Body: invite})
			do(t, p.called, 415, siptest.Action{Method: "INVITE", ContentType: "text/plain", Body: "hello"})
		})},
	{name: "offer-gateway-calls-by-dial", flow: Dial, spec: dialling(nil), calling: siptest.Script{Media: siptest.Gateway(),
		HangUpAfter: 20 * time.Second},
		called: siptest.Script{Ring: time.Second}},
	{name: "offer-transfer-of-a-phone-that-holds", third: &siptest.Script{Media: siptest.Desk()},
		called: siptest.Script{Media: siptest.Desk()},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(), during: heldThenTransferred(held("10.0.0.3"))},
	{name: "offer-transfer-of-a-phone-that-holds-without-an-address", third: &siptest.Script{Media: siptest.Desk()},
		called: siptest.Script{Media: siptest.Desk()}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: heldThenTransferred(strings.Replace(held("10.0.0.3"), "c=IN IP4 10.0.0.3", "c=IN IP4 0.0.0.0", 1))},
	{name: "offer-transfer-of-a-phone-that-holds-without-a-port", third: &siptest.Script{Media: siptest.Desk()},
		called: siptest.Script{Media: siptest.Desk()}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: heldThenTransferred(strings.Replace(held("10.0.0.3"), "m=audio 40000", "m=audio 0", 1))},
	{name: "offer-transfer-target-has-another-codec", third: &siptest.Script{Media: siptest.OpusOnly()},
		calling: siptest.Script{Media: siptest.Gateway()},
		called:  siptest.Script{Media: deskWithOpus()}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, answeredThenTransferred)},
	{name: "offer-transfer-target-has-another-codec-and-is-busy", third: &siptest.Script{Media: siptest.OpusOnly(), Status: 486},
		calling: siptest.Script{Media: siptest.Gateway()}, called: siptest.Script{Media: deskWithOpus()}, hangUp: 20 * time.Second,
		err: ErrHungUpByUser.Error(), during: after(5*time.Second, answeredThenTransferred)},
}

// answeredThenTransferred has the called phone answer the calling one, by which it is
// known to have no more than the two have in common.
func answeredThenTransferred(t *testing.T, r *rig, p *phones, c *Call) {
	do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
	transfer203(t, r, p, c)
}

// noLate is a phone that takes no INVITE without an offer.
func noLate(m siptest.Media) siptest.Media {
	m.NoLateOffer = true
	return m
}

func deskWithOpus() siptest.Media {
	m := siptest.Desk()
	m.Formats = append([]string{"107 opus/48000/2"}, m.Formats...)
	return m
}

// multipartOf is a description as a gateway sends it.
func multipartOf(description string) (contentType, body string) {
	return "multipart/mixed;boundary=cut",
		"--cut\r\nContent-Type: application/isup;version=ansi\r\nContent-Disposition: signal;handling=optional\r\n\r\n" +
			"\x10\x00\r\n--cut\r\nContent-Type: application/sdp\r\n\r\n" + description + "\r\n--cut--\r\n"
}

// heldThenTransferred has the called phone hold the calling one, which is replaced
// then: the new one must not be offered what the old one was held by.
func heldThenTransferred(hold string) func(*testing.T, *rig, *phones, *Call) {
	return after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
		do(t, p.called, 200, siptest.Action{Method: "INVITE", Body: hold})
		transfer203(t, r, p, c)
		time.Sleep(5 * time.Second)
		invites := p.third.Requests("INVITE")
		if len(invites) == 0 { // something was lost
			return
		}
		offer := string(invites[0].Body())
		if !strings.Contains(offer, "a=sendrecv\r\n") || !strings.Contains(offer, "c=IN IP4 10.0.0.3\r\n") || !strings.Contains(offer,
			"m=audio 40000 ") {
			t.Errorf("the target was offered\n%s", offer)
		}
	})
}

func TestOffers(t *testing.T) {
	for _, bc := range offerCases {
		t.Run(bc.name, func(t *testing.T) {
			flowtest.Ladder(t, bc.name, func(t *testing.T, n *siptest.Network) { bc.run(t, n, true) })
		})
	}
}

// Each again with each of its messages lost once.
func TestOffersSurviveLoss(t *testing.T) {
	for _, bc := range offerCases {
		t.Run(bc.name, func(t *testing.T) {
			t.Parallel()
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { bc.run(t, n, false) })
		})
	}
}

// Every phone is joined with every other that it can talk to, whichever calls.
func TestEveryMakeIsJoinedWithEveryOther(t *testing.T) {
	for a, one := range makes {
		for b, other := range makes {
			for _, flow := range []struct {
				name string
				cfg  func(*Config)
				run  Flow
				spec func(*Spec)
				with siptest.Refer
			}{
				{name: "invite", run: Invite},
				{name: "refer and bridge", run: Refer, spec: byRefer, cfg: fallback, with: siptest.Refer{Status: 405}},
				{name: "dial", run: Dial, spec: dialling(nil)},
			} {
				t.Run(flow.name+"/"+a+" calls "+b, func(t *testing.T) {
					bc := bridgeCase{flow: flow.run, spec: flow.spec, cfg: flow.cfg, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
						calling: siptest.Script{Ring: time.Second, Media: one(), Refer: flow.with}, called: siptest.Script{Ring: time.Second, Media: other()}}
					if !common(a, b) {
						bc.hangUp, bc.err = 0, "488"
					}
					bc.during = after(10*time.Second, func(t *testing.T, _ *rig, p *phones, c *Call) {
						if up := p.calling.Dialogs() == 1 && p.called.Dialogs() == 1; up != common(a, b) {
							t.Errorf("up is %v\n%s\n\n%s", up, strings.Join(p.calling.Log(), "\n"), strings.Join(p.called.Log(), "\n"))
						}
					})
					flowtest.Ladder(t, "", func(t *testing.T, n *siptest.Network) { bc.run(t, n, true) })
				})
			}
		}
	}
}

// A server that says 480 to an INVITE without an offer gets one, unless somebody has
// been alerted: a real 480 means that nobody is there.
func TestCalledThatIsNotThereIsNotAlertedTwice(t *testing.T) {
	for _, rings := range []bool{false, true} {
		byHand(t, func(t *testing.T, p *rawPair) {
			p.place()
			p.b.invite = p.b.expect("INVITE")
			if rings {
				p.b.send(p.b.response(p.b.invite, 180, "", ""))
			}
			p.b.send(p.b.response(p.b.invite, 480, "", ""))
			p.b.expect("ACK")
			if !rings {
				again := p.b.expect("INVITE")
				if !strings.Contains(string(again.Body()), "m=audio 4000 ") {
					t.Errorf("B is offered\n%s", again.Body())
				}
				p.b.send(p.b.response(again, 480, "", ""))
				p.b.expect("ACK")
			}
			p.a.hungUp()
			p.b.quiet(5 * time.Second)
			<-p.call.Done()
		})
	}
}

// A description without a Content-Type counts, and one among other parts, in the
// responses of each phone and in what they send.
func TestDescriptionsInEveryBody(t *testing.T) {
	multi, body := multipartOf(sdpOf(5000))
	for _, tt := range []struct{ header, body string }{
		{"Content-Type: " + multi + "\r\nMIME-Version: 1.0\r\nContent-Disposition: session;handling=required\r\n", body}, {"", sdpOf(5000)},
	} {
		byHand(t, func(t *testing.T, p *rawPair) {
			p.place()
			p.b.invite = p.b.expect("INVITE")
			p.b.send(p.b.response(p.b.invite, 200, p.b.contact()+tt.header, tt.body))
			offer := p.a.expect("INVITE")
			if !strings.Contains(string(offer.Body()), "m=audio 5000 ") {
				t.Fatalf("A is offered\n%s", offer.Body())
			}
			p.a.send(p.a.response(offer, 200, p.a.contact()+tt.header, strings.Replace(tt.body, "audio 5000", "audio 4000", 1)))
			p.a.expect("ACK")
			if ack := p.b.expect("ACK"); !strings.Contains(string(ack.Body()), "m=audio 4000 ") {
				t.Errorf("B is answered\n%s", ack.Body())
			}
			synctest.Wait()
			for _, method := range []string{"INVITE", "UPDATE"} {
				seq := map[string]int{"INVITE": 2, "UPDATE": 3}[method]
				p.a.send(p.a.inDialog(method, seq, tt.header, strings.Replace(tt.body, "audio 5000", "audio 4002", 1)))
				got := p.b.expect(method)
				if string(got.Get(wire.ContentType)) != "application/sdp" || !strings.Contains(string(got.Body()), "m=audio 4002 ") ||
					strings.Contains(string(got.Raw()), "isup") || strings.Contains(string(got.Raw()), "MIME-Version") {
					t.Errorf("B gets\n%s", got.Raw())
				}
				p.b.send(p.b.response(got, 200, p.b.contact()+tt.header, strings.Replace(tt.body, "audio 5000", "audio 5002", 1)))
				if method == "INVITE" {
					p.b.expect("ACK")
				}
				res := p.a.response1(200)
				if !strings.Contains(string(res.Body()), "m=audio 5002 ") || strings.Contains(string(res.Raw()), "isup") {
					t.Errorf("A gets\n%s", res.Raw())
				}
				if method == "INVITE" {
					p.a.send(p.a.ack(seq, ""))
				}
				synctest.Wait()
			}
			p.hangUp()
		})
	}
}

// A phone that is held is answered as it asks, or refused with a reason.
func TestHeldPhoneIsAnsweredInItsOwnProfile(t *testing.T) {
	secured := strings.Replace(sdpOf(4002), "RTP/AVP", "RTP/SAVP", 1) +
		"a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n"
	dtls := strings.Replace(sdpOf(4002), "RTP/AVP", "UDP/TLS/RTP/SAVPF", 1) + "a=fingerprint:sha-256 AA\r\na=ice-ufrag:x\r\n"
	byHand(t, func(t *testing.T, p *rawPair) {
		p.place()
		p.b.expect("INVITE")
		first := p.a.wants(200, p.a.inDialog("INVITE", 1, sdpHeader, secured))
		p.a.send(p.a.ack(1, ""))
		again := p.a.wants(200, p.a.inDialog("INVITE", 2, sdpHeader, secured))
		p.a.send(p.a.ack(2, ""))
		if why := siptest.FaultOfAnswer(secured, string(first.Body())); why != "" || !strings.Contains(string(first.Body()),
			"\r\na=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:") {
			t.Errorf("%s\n%s", why, first.Body())
		}
		if string(first.Body()) != string(again.Body()) {
			t.Errorf("a refresh is answered otherwise:\n%s\n%s", first.Body(), again.Body())
		}
		refused := p.a.wants(488, p.a.inDialog("INVITE", 3, sdpHeader, dtls))
		if !strings.Contains(string(refused.Raw()), "Warning: 399 ") {
			t.Errorf("refused without a word:\n%s", refused.Raw())
		}
		p.a.send(p.a.ack(3, ""))
		refused = p.a.wants(415, p.a.inDialog("INVITE", 4, "Content-Type: text/plain\r\n", "hello"))
		if !strings.Contains(string(refused.Raw()), "Accept: application/sdp, multipart/*\r\n") {
			t.Errorf("refused without a word:\n%s", refused.Raw())
		}
		p.a.send(p.a.ack(4, ""))
		p.call.stop(ErrHungUpByUser)
		p.a.hungUp()
		p.b.expect("INVITE")
	})
}

// ringingLong has each phone ring for a minute.
func ringingLong(s *Spec) { s.Timeout = time.Minute }
