package sipflow

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/siptest"
)

// eachDescription runs f with what makes of phones, PBXs and browsers offer.
func eachDescription(t *testing.T, f func(t *testing.T, offer string)) {
	files, err := filepath.Glob("testdata/sdp/*.sdp")
	if err != nil || len(files) < 14 {
		t.Fatalf("%d descriptions: %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sdp"), func(t *testing.T) { f(t, string(b)) })
	}
}

// withoutOrigin are the lines of a description that pass from phone to phone.
func withoutOrigin(description string) string {
	_, rest, _ := strings.Cut(description, "\r\ns=")
	return "s=" + rest
}

// What each make offers is held, refused, passed on and offered to others as the RFCs
// have it.
func TestDescriptionsOfMakes(t *testing.T) {
	eachDescription(t, func(t *testing.T, offer string) {
		l := describer()
		held, err := l.answerHeld([]byte(offer))
		switch by := sdp.SecurityOf([]byte(offer)); {
		case by == sdp.WebRTC:
			if refused := new(StatusError); !errors.As(err, &refused) || refused.Code != 488 || !strings.Contains(refused.Reason, "DTLS") {
				t.Errorf("held, though nobody speaks DTLS: %v\n%s", err, held)
			}
			held = l.onHold([]byte(offer))
		case err != nil:
			t.Fatalf("not held: %v", err)
		case !strings.Contains(string(held), "m=audio 2222 "):
			t.Errorf("held by\n%s", held)
		}
		for what, answer := range map[string][]byte{"held": held, "refused": l.refuse([]byte(offer))} {
			if why := siptest.FaultOfAnswer(offer, string(answer)); why != "" {
				t.Errorf("%s: %s\n%s", what, why, answer)
			}
			if !strings.Contains(offer, "m=image") { // which that implementation does not know
				read(t, answer)
			}
		}
		passed := string(describer().describe([]byte(offer)))
		if withoutOrigin(passed) != withoutOrigin(offer) {
			t.Errorf("passed on as\n%s", passed)
		}
		var other Leg
		other.call = l.call
		other.heard([]byte(offer))
		other.heard([]byte(strings.NewReplacer("a=sendrecv", "a=sendonly", "c=IN IP4 192.0.2.", "c=IN IP4 0.0.0.0\r\na=was:").Replace(offer)))
		again := string(other.forAnother())
		for _, d := range sdp.Directions([]byte(again)) {
			if d != sdp.SendRecv {
				t.Errorf("another party is offered\n%s", again)
			}
		}
		if strings.Contains(again, "c=IN IP4 0.0.0.0") || !sdp.Reached([]byte(again)) {
			t.Errorf("another party is offered\n%s", again)
		}
	})
}

// Each make is passed on unchanged in each role: as the calling phone, the called one
// and the target of a transfer.
func TestDescriptionsOfMakesInEachRole(t *testing.T) {
	same := func(t *testing.T, got []byte, want string) {
		t.Helper()
		if withoutOrigin(string(got)) != withoutOrigin(want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	eachDescription(t, func(t *testing.T, description string) {
		byHand(t, func(t *testing.T, p *rawPair) {
			p.place()
			p.b.invite = p.b.expect("INVITE")
			p.b.ok(p.b.invite, "", description) // called
			offer := p.a.expect("INVITE")
			same(t, offer.Body(), description)
			p.a.ok(offer, "", description) // calling
			same(t, p.b.expect("ACK").Body(), description)
			p.a.expect("ACK")
			synctest.Wait()
			third := p.transfer()
			same(t, third.invite.Body(), description) // the phone that stays
			third.ok(third.invite, "", description)   // target
			third.expect("ACK")
			joining := p.b.expect("INVITE")
			same(t, joining.Body(), description)
			p.b.ok(joining, "", description)
			p.b.expect("ACK")
			p.a.hungUp()
			p.a.queue = nil
			synctest.Wait()
			p.call.stop(ErrHungUpByUser)
			third.hungUp()
			p.b.hungUp()
			<-p.call.Done()
		})
	})
}

// A gateway's description counts whatever stands around it.
func TestDescriptionsOfMakesAmongOtherParts(t *testing.T) {
	eachDescription(t, func(t *testing.T, description string) {
		contentType, body := multipartOf(description)
		got, taken := sdp.Body{Type: []byte(contentType), Content: []byte(body)}.Read()
		if !taken || !bytes.Equal(got, []byte(description)) {
			t.Errorf("taken %v:\n%s", taken, got)
		}
	})
}
