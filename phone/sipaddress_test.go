package phone

import (
	"errors"
	"strings"
	"testing"
)

func TestSIPAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"sip:201@example.com":             "sip:201@example.com",
		"SIP:Sam@Example.COM:5062":        "sip:Sam@example.com:5062",
		"sip:+4930123@[2001:DB8::1]:5060": "sip:+4930123@[2001:db8::1]:5060",
		"sip:a.b-c_d@192.0.2.1":           "sip:a.b-c_d@192.0.2.1",
	} {
		if got, err := ParseSIPAddress(text); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "201@example.com", "sips:201@example.com", "tel:+4930", "sip:example.com", "sip:@example.com", "sip:a@",
		"sip:a@b@c",
		"sip:a;x=y@b", "sip:a@b;maddr=127.0.0.1", "sip:a@b?Route=x", "sip:a@b>", "sip:a@b\r\nVia: x", "sip:a b@c", "sip:a%41@b", "sip:a@b:0",
		"sip:a@b:70000",
		"sip:a@b:x", "sip:a@[::1", "sip:a@[::1%eth0]", "sip:a@b..c", "sip:ä@b", "sip:" + strings.Repeat("a", 300) + "@b"} {
		if got, err := ParseSIPAddress(text); err == nil || !strings.Contains(err.Error(), "write sip:201@example.com") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestGuestsHaveTheIDOfTheirAddress(t *testing.T) {
	if got := guestID("sip:+4930123456@carrier.example").String(); got != "353C984D-F9AD-5152-9D59-01BCBCF86C29" {
		t.Error(got)
	}
	if guestID("sip:1@a") == guestID("sip:2@a") {
		t.Error("two addresses have one ID")
	}
}

func TestUsersHaveASIPAddress(t *testing.T) {
	s := tempStore(t)
	defer s.Close()
	ctx := t.Context()
	sam, err := s.Add(ctx, User{Username: "sam"}, "sam's password")
	if err != nil {
		t.Fatal(err)
	}
	kim, err := s.Add(ctx, User{Username: "kim"}, "kim's password")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetSIP(ctx, sam.ID, "sip:201@Example.com"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetSIP(ctx, sam.ID, "sip:201@example.com"); err != nil {
		t.Error("the same again:", err)
	}
	if err := s.SetSIP(ctx, kim.ID, "sip:201@EXAMPLE.com"); !errors.Is(err, ErrAddressTaken) {
		t.Errorf("two users with one phone: %v", err)
	}
	if err := s.SetSIP(ctx, NewID(), "sip:202@example.com"); !errors.Is(err, ErrNoUser) {
		t.Errorf("nobody's phone: %v", err)
	}
	if u, err := s.WithSIP(ctx, "sip:201@example.com"); err != nil || u.ID != sam.ID || u.SIP != "sip:201@example.com" {
		t.Errorf("%+v, %v", u, err)
	}
	sam.DisplayName = "Sam" // what changes the rest leaves it
	if err := s.Update(ctx, sam); err != nil {
		t.Error(err)
	}
	if u, err := s.Get(ctx, sam.ID); err != nil || u.SIP == "" {
		t.Errorf("%+v, %v", u, err)
	}
	if err := errors.Join(s.SetSIP(ctx, sam.ID, ""), s.SetSIP(ctx, kim.ID, "")); err != nil {
		t.Error(err)
	}
	if u, err := s.WithSIP(ctx, ""); !errors.Is(err, ErrNoUser) {
		t.Errorf("who has none: %+v, %v", u, err)
	}
}

func FuzzSIPAddress(f *testing.F) {
	for _, s := range []string{"sip:201@example.com", "sip:a@[::1]:5060", "SIP:+49@B:1", "sip:a@b;c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseSIPAddress(text)
		if err != nil {
			return
		}
		again, err := ParseSIPAddress(got)
		if err != nil || again != got || strings.ContainsAny(got, " ;?<>\"\r\n%") || strings.Count(got, "@") != 1 {
			t.Errorf("%q: %q, then %q, %v", text, got, again, err)
		}
	})
}
