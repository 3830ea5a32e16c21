package media

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

// inline is a key of n bytes, all of them b.
func inline(b byte, n int) string {
	key := make([]byte, n)
	for i := range key {
		key[i] = b
	}
	return "inline:" + base64.StdEncoding.EncodeToString(key)
}

// cryptoLine offers the usual suite.
func cryptoLine(tag int, b byte) string {
	return fmt.Sprintf("a=crypto:%d AES_CM_128_HMAC_SHA1_80 %s\r\n", tag, inline(b, 30))
}

func TestKeyLinesAreRead(t *testing.T) {
	good := inline(1, 30)
	unpadded := strings.TrimRight(inline(1, 46), "=")
	for _, tt := range []struct {
		value    string
		ok       bool
		lifetime uint64
		mki      string
	}{
		{"1 AES_CM_128_HMAC_SHA1_80 " + good, true, 1 << 48, ""},
		{"1 AES_CM_128_HMAC_SHA1_32 " + good, true, 1 << 48, ""},
		{"999999999 aes_cm_128_hmac_sha1_80 " + strings.Replace(good, "inline", "INLINE", 1), true, 1 << 48, ""},
		{"1 AES_256_CM_HMAC_SHA1_80 " + inline(1, 46), true, 1 << 48, ""},
		{"1 AES_256_CM_HMAC_SHA1_32 " + unpadded, true, 1 << 48, ""},
		{"1 AEAD_AES_128_GCM " + inline(1, 28), true, 1 << 48, ""},
		{"1 AEAD_AES_256_GCM " + inline(1, 44), true, 1 << 48, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|2^20", true, 1 << 20, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|1800000", true, 1800000, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|2^31|1:1", true, 1 << 31, "\x01"},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|258:4", true, 1 << 48, "\x00\x00\x01\x02"},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|1:128", true, 1 << 48, strings.Repeat("\x00", 127) + "\x01"},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + " WSH=128 -x", true, 1 << 48, ""},

		{"", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80", false, 0, ""},
		{"x AES_CM_128_HMAC_SHA1_80 " + good, false, 0, ""},
		{"1234567890 AES_CM_128_HMAC_SHA1_80 " + good, false, 0, ""},
		{"-1 AES_CM_128_HMAC_SHA1_80 " + good, false, 0, ""},
		{"1 F8_128_HMAC_SHA1_80 " + good, false, 0, ""},
		{"1 NULL_HMAC_SHA1_80 " + good, false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + inline(1, 29), false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + inline(1, 46), false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("*", 40), false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 uri:" + good[7:], false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + ";" + good, false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|0", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|2^49", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|2^x", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|1:1|2^20", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|2^20|1:1|1:1", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|1:0", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|1:129", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + "|256:1", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + " UNENCRYPTED_SRTP", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + " UNENCRYPTED_SRTCP", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + " UNAUTHENTICATED_SRTP", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + " KDR=1", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + " FEC_ORDER=FEC_SRTP", false, 0, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 " + good + " WSH=x", false, 0, ""},
	} {
		k := readKey(tt.value)
		if (k != nil) != tt.ok {
			t.Errorf("%s: taken: %v", tt.value, k != nil)
		}
		if k != nil && (k.lifetime != tt.lifetime || string(k.mki) != tt.mki || len(k.secret) != k.suite.key+k.suite.salt || k.secret[0] != 1) {
			t.Errorf("%s: %+v", tt.value, k)
		}
	}
}

// keysOf are the a=crypto lines of a description.
func keysOf(description []byte) []string {
	return regexp.MustCompile(`a=crypto:[^\r]*`).FindAllString(string(description), -1)
}

func TestOffersOfEncryption(t *testing.T) {
	usual := cryptoLine(1, 1)
	plain, secure := head+"m=audio 4000 RTP/AVP 8\r\n", head+"m=audio 4000 RTP/SAVP 8\r\n"
	for _, tt := range []struct {
		name, offer string
		security    Security
		code        int
		want        string // m= line and what is said of keys, or words of the refusal
	}{
		{"SRTP", secure + usual, SRTPOffered, 0, "RTP/SAVP 1 AES_CM_128_HMAC_SHA1_80"},
		{"SRTP that is required", secure + usual, SRTPRequired, 0, "RTP/SAVP 1 AES_CM_128_HMAC_SHA1_80"},
		{"SRTP that is off", secure + usual, SRTPOff, 488, "RTP/SAVP: only plain RTP/AVP is spoken here"},
		{"plain RTP", plain, SRTPOffered, 0, "RTP/AVP"},
		{"plain RTP where SRTP is required", plain, SRTPRequired, 488, "SRTP is required"},
		{"plain RTP where SRTP is off", plain, SRTPOff, 0, "RTP/AVP"},
		{"keys beside plain RTP", plain + usual, SRTPOffered, 0, "RTP/AVP 1 AES_CM_128_HMAC_SHA1_80"},
		{"keys beside plain RTP, required", plain + usual, SRTPRequired, 0, "RTP/AVP 1 AES_CM_128_HMAC_SHA1_80"},
		{"keys beside plain RTP, off", plain + usual, SRTPOff, 0, "RTP/AVP"},
		{"keys of no use beside plain RTP", plain + "a=crypto:1 F8_128_HMAC_SHA1_80 " + inline(1, 30) + "\r\n", SRTPOffered, 0, "RTP/AVP"},
		{"keys of no use beside plain RTP, required", plain + "a=crypto:1 X " + inline(1, 30) + "\r\n", SRTPRequired, 488, "SRTP is required"},
		{"SRTP without keys", secure, SRTPOffered, 488, "a=crypto"},
		{"keys of the whole session", strings.Replace(secure, "m=", usual+"m=", 1), SRTPOffered, 488, "a=crypto"},
		{"the phone's order", secure + "a=crypto:7 AES_CM_128_HMAC_SHA1_32 " + inline(2, 30) + "\r\n" + usual, SRTPOffered, 0,
			"RTP/SAVP 7 AES_CM_128_HMAC_SHA1_32"},
		{"the first that is known", secure + "a=crypto:3 NEW_SUITE inline:abc\r\n" + usual, SRTPOffered, 0, "RTP/SAVP 1 AES_CM_128_HMAC_SHA1_80"},
		{"the first that is encrypted", secure + "a=crypto:3 AES_CM_128_HMAC_SHA1_80 " + inline(2, 30) + " UNENCRYPTED_SRTP\r\n" + usual,
			SRTPOffered,
			0, "RTP/SAVP 1 AES_CM_128_HMAC_SHA1_80"},
		{"nothing that is encrypted", secure + "a=crypto:3 AES_CM_128_HMAC_SHA1_80 " + inline(2, 30) + " UNENCRYPTED_SRTCP\r\n", SRTPOffered,
			488, "a=crypto"},
		{"plain and SRTP: SRTP", plain + "m=audio 4002 RTP/SAVP 8\r\n" + usual, SRTPOffered, 0, "RTP/SAVP 1 AES_CM_128_HMAC_SHA1_80"},
		{"SRTP and plain: SRTP", secure + usual + "m=audio 4002 RTP/AVP 8\r\n", SRTPOffered, 0, "RTP/SAVP 1 AES_CM_128_HMAC_SHA1_80"},
		{"plain and SRTP, off", plain + "m=audio 4002 RTP/SAVP 8\r\n" + usual, SRTPOff, 0, "RTP/AVP"},
		{"feedback", head + "m=audio 4000 RTP/SAVPF 8\r\n" + usual, SRTPOffered, 488, "RTP/SAVPF: only plain RTP/AVP is spoken here"},
		{"DTLS", head + "m=audio 4000 UDP/TLS/RTP/SAVP 8\r\n" + usual, SRTPOffered, 488, "only plain RTP/AVP is spoken here"},
		{"many keys", secure + strings.Repeat("a=crypto:9 X "+inline(1, 30)+"\r\n", 16) + usual, SRTPOffered, 488, "a=crypto"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := idle(t)
			s.opt.Security = tt.security
			answer, err := s.Answer([]byte(tt.offer))
			if tt.code != 0 {
				if code(err) != tt.code || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "AQEB") {
					t.Fatalf("got %v, want %d, %q", err, tt.code, tt.want)
				}
				if s.terms != nil || s.mine != nil || s.rx != nil {
					t.Error("a refused offer has changed the session")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wellFormed(t, answer)
			proto, suite, encrypted := strings.Cut(tt.want, " ")
			keys := keysOf(answer)
			if !strings.Contains(string(answer), "m=audio 20000 "+proto+" 8\r\n") || encrypted != (len(keys) == 1) {
				t.Fatalf("answer\n%s", answer)
			}
			if encrypted && (!strings.HasPrefix(keys[0], "a=crypto:"+suite+" inline:") || !strings.HasSuffix(suite, " "+s.Suite()) ||
				strings.Contains(keys[0], inline(1, 30))) {
				t.Errorf("answer %s, suite %s", keys, s.Suite())
			}
			if !encrypted && s.Suite() != "" {
				t.Errorf("encrypted by %s", s.Suite())
			}
			if again, err := s.Answer([]byte(tt.offer)); err != nil || string(again) != string(answer) {
				t.Errorf("the same offer is answered otherwise: %v\n%s\n%s", err, again, answer)
			}
		})
	}
}

func TestAnswersToOffersOfEncryption(t *testing.T) {
	secure := head + "m=audio 4000 RTP/SAVP 8\r\n"
	for _, tt := range []struct {
		name, answer string
		suite        string // "": refused
	}{
		{"the first", secure + cryptoLine(1, 1), "AES_CM_128_HMAC_SHA1_80"},
		{"another", secure + "a=crypto:2 AES_CM_128_HMAC_SHA1_32 " + inline(1, 30) + "\r\n", "AES_CM_128_HMAC_SHA1_32"},
		{"GCM", secure + "a=crypto:3 AEAD_AES_256_GCM " + inline(1, 44) + "|2^31|1:4\r\n", "AEAD_AES_256_GCM"},
		{"a suite of another tag", secure + cryptoLine(2, 1), ""},
		{"a tag that was not offered", secure + cryptoLine(7, 1), ""},
		{"not encrypted in truth", secure + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 " + inline(1, 30) + " UNENCRYPTED_SRTP\r\n", ""},
		{"without a key", secure, ""},
		{"in the clear", head + "m=audio 4000 RTP/AVP 8\r\n", ""},
		{"in the clear, with a key", head + "m=audio 4000 RTP/AVP 8\r\n" + cryptoLine(1, 1), ""},
		{"feedback", head + "m=audio 4000 RTP/SAVPF 8\r\n" + cryptoLine(1, 1), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := idle(t)
			s.opt.Security = SRTPRequired
			offer := s.Offer()
			keys := keysOf(offer)
			if !strings.Contains(string(offer), "m=audio 20000 RTP/SAVP 9 8 0 101\r\n") || len(keys) != len(suites) ||
				!strings.HasPrefix(keys[0], "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:") {
				t.Fatalf("offer\n%s", offer)
			}
			if again := s.Offer(); string(again) != string(offer) {
				t.Errorf("the same offer is another\n%s", again)
			}
			err := s.Accept([]byte(tt.answer))
			if tt.suite == "" && code(err) != 488 || tt.suite != "" && err != nil || s.Suite() != tt.suite {
				t.Fatalf("%v, suite %q", err, s.Suite())
			}
			if tt.suite != "" && !strings.Contains(string(offer), s.mine.line()) {
				t.Error("we encrypt by a key that was not offered")
			}
		})
	}
	s := idle(t) // what was offered in the clear is not answered otherwise
	s.Offer()
	if err := s.Accept([]byte(secure + cryptoLine(1, 1))); code(err) != 488 {
		t.Errorf("SRTP where plain RTP was offered: %v", err)
	}
	if err := s.Accept([]byte(head + "m=audio 4000 RTP/AVP 8\r\n" + cryptoLine(1, 1))); err != nil || s.Suite() != "" {
		t.Errorf("a key where plain RTP was offered: %v, %q", err, s.Suite())
	}
}

// A key stays as long as the phone's does, and is another when the phone's is; a
// key that has been out of use never comes back (RFC 4568 §7.1.4).
func TestKeysInLaterNegotiations(t *testing.T) {
	s := idle(t)
	secure, plain := head+"m=audio 4000 RTP/SAVP 8\r\n", head+"m=audio 4000 RTP/AVP 8\r\n"
	seen := map[string]bool{}
	ask := func(offer string, fresh bool) string {
		t.Helper()
		b, err := s.Answer([]byte(offer))
		if err != nil {
			t.Fatal(err)
		}
		if len(keysOf(b)) != 1 {
			t.Fatalf("answer\n%s", b)
		}
		_, key, _ := strings.Cut(keysOf(b)[0], "inline:")
		if seen[key] == fresh {
			t.Errorf("a key is fresh: %v, want %v", !seen[key], fresh)
		}
		seen[key] = true
		return key
	}
	first := ask(secure+cryptoLine(1, 1), true)
	rx := s.rx
	ask(secure+cryptoLine(1, 1)+"a=sendonly\r\n", false)
	ask(secure+cryptoLine(4, 1), false) // another tag
	if s.rx != rx {
		t.Error("what was counted of the phone's packets is forgotten")
	}
	offer := string(s.Offer())
	if !strings.Contains(offer, "a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:"+first+"\r\n") || len(keysOf([]byte(offer))) != len(suites) ||
		!strings.Contains(offer, "m=audio 20000 RTP/SAVP 8 ") {
		t.Errorf("our offer changes the key that is in use:\n%s", offer)
	}
	tags := map[string]bool{}
	for _, k := range keysOf([]byte(offer)) {
		tags[strings.Fields(k)[0]] = true
	}
	if len(tags) != len(suites) {
		t.Errorf("tags are not unique:\n%s", offer)
	}
	if err := s.Accept([]byte(secure + cryptoLine(4, 1))); err != nil || s.rx != rx ||
		s.mine.line() != "4 AES_CM_128_HMAC_SHA1_80 inline:"+first {
		t.Errorf("the phone goes on with its key: %v", err)
	}
	if string(s.Offer()) != offer {
		t.Error("the same offer is another")
	}
	ask(secure+cryptoLine(1, 2), true)
	ask(secure+cryptoLine(1, 1), true) // the phone's old key: not ours
	ask(secure+"a=crypto:1 AES_CM_128_HMAC_SHA1_32 "+inline(1, 30)+"\r\n", true)
	if _, err := s.Answer([]byte(plain)); err != nil || s.Suite() != "" || s.rx != nil {
		t.Errorf("the call goes on in the clear: %v", err)
	}
	if b := s.Offer(); !strings.Contains(string(b), "RTP/AVP") || len(keysOf(b)) > 0 {
		t.Errorf("offer\n%s", b)
	}
	ask(secure+"a=crypto:1 AES_CM_128_HMAC_SHA1_32 "+inline(1, 30)+"\r\n", true)

	// The phone takes another suite of our next offer, and then that of its first one again.
	for _, again := range []bool{false, true} {
		keys := keysOf(s.Offer())
		var answer string
		for _, k := range keys {
			if f := strings.Fields(k); again == strings.HasSuffix(f[1], "_32") && strings.HasPrefix(f[1], "AES_CM") {
				_, key, _ := strings.Cut(k, "inline:")
				if seen[key] {
					t.Error("a key comes back")
				}
				seen[key] = true
				answer = secure + f[0] + " " + f[1] + " " + inline(9, 30) + "\r\n"
			}
		}
		if err := s.Accept([]byte(answer)); err != nil {
			t.Fatal(err)
		}
	}

	s.opt.Security = SRTPRequired
	if _, err := s.Answer([]byte(plain)); code(err) != 488 || s.Suite() == "" {
		t.Errorf("an encrypted call goes on in the clear, where SRTP is required: %v", err)
	}
}

// Keys beside RTP/AVP stay there in our own offers, and may be left out.
func TestOpportunisticKeys(t *testing.T) {
	s := idle(t)
	plain := head + "m=audio 4000 RTP/AVP 8\r\n"
	if _, err := s.Answer([]byte(plain + cryptoLine(1, 1))); err != nil {
		t.Fatal(err)
	}
	if b := s.Offer(); !strings.Contains(string(b), "RTP/AVP") || len(keysOf(b)) != len(suites) {
		t.Fatalf("offer\n%s", b)
	}
	if err := s.Accept([]byte(plain)); err != nil || s.Suite() != "" {
		t.Errorf("without a key: %v, %q", err, s.Suite())
	}
}

// A phone that is on hold by RTP/SAVP is not taken back by plain RTP.
func TestExpectedEncryption(t *testing.T) {
	for _, tt := range []struct {
		description string
		security    Security
		want        string
	}{
		{head + "m=audio 4000 RTP/SAVP 8\r\n", SRTPOffered, "RTP/SAVP"},
		{head + "m=video 4000 RTP/AVP 8\r\nm=audio 0 RTP/AVP 8\r\nm=audio 4000 RTP/SAVP 8\r\n", SRTPOffered, "RTP/SAVP"},
		{head + "m=audio 4000 RTP/SAVP 8\r\n", SRTPOff, "RTP/AVP"},
		{head + "m=audio 4000 RTP/AVP 8\r\n" + cryptoLine(1, 1), SRTPOffered, "RTP/AVP"},
		{"hello", SRTPOffered, "RTP/AVP"},
	} {
		s := idle(t)
		s.opt.Security = tt.security
		s.Expect([]byte(tt.description))
		b := s.Offer()
		if !strings.Contains(string(b), "m=audio 20000 "+tt.want+" ") || (len(keysOf(b)) > 0) != (tt.want == "RTP/SAVP") {
			t.Errorf("%s\n%s", tt.description, b)
		}
	}
}

func TestWordsOfSecurity(t *testing.T) {
	for i, word := range Securities() {
		if s, err := ParseSecurity(word); err != nil || s != Security(i) || s.String() != word {
			t.Errorf("%s: %v, %v", word, s, err)
		}
	}
	if _, err := ParseSecurity("maybe"); err == nil || !strings.Contains(err.Error(), "offered, required, off") {
		t.Errorf("%v", err)
	}
}

// Whatever prints a key does not show it.
func TestKeysAreNotShown(t *testing.T) {
	s := idle(t)
	var log strings.Builder
	s.ports.cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if _, err := s.Answer([]byte(head + "m=audio 4000 RTP/SAVP 8\r\n" + cryptoLine(1, 'k'))); err != nil {
		t.Fatal(err)
	}
	s.ports.cfg.Log.Debug("keys", "ours", s.mine.secret, "theirs", s.terms.crypto.secret)
	shown := log.String() + fmt.Sprintf("%v %+v %#v %s", s.terms.crypto.secret, *s.terms.crypto, s.mine.secret, s.mine.secret)
	if !strings.Contains(shown, "[redacted]") || strings.Contains(shown, "kkkk") || strings.Contains(shown, inline('k', 30)[7:]) ||
		strings.Contains(shown, "107 107") || strings.Contains(shown, "6b6b") || strings.Contains(shown, "0x6b") {
		t.Errorf("shown: %s", shown)
	}
}
