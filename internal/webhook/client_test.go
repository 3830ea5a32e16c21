package webhook

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// hooked is a client with the server that it asks.
type hooked struct {
	*Client
	url string
}

// hook serves one webhook.
func hook(t *testing.T, e *Endpoint, h http.HandlerFunc) hooked {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	e.AllowPrivate = []string{"127.0.0.1"}
	return hooked{testClient(t, e), server.URL + "/call"}
}

func testClient(t *testing.T, e *Endpoint) *Client {
	t.Helper()
	e.Method, e.Timeout = cmp.Or(e.Method, http.MethodPost), 5*time.Second
	c, err := NewClient(e, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testMessage() *Message {
	m := &Message{}
	m.Add("event", "invite")
	m.AddText("empty", "")
	return m
}

// verify is what a webhook does with the token of its request.
func verify(token string, payload []byte, at time.Time, keys ...Key) error {
	var c claims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return at }))
	_, err := parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		for _, k := range keys {
			if t.Header["kid"] == k.ID {
				return []byte(k.Secret), nil
			}
		}
		return nil, errors.New("unknown key")
	})
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(payload); c.SHA256 != base64.StdEncoding.EncodeToString(sum[:]) {
		return errors.New("another body")
	}
	if c.Issuer != "issuer" {
		return errors.New("another issuer")
	}
	return nil
}

func TestRequestsAreSigned(t *testing.T) {
	key1, key2 := Key{"k1", "abcdefghijklmnop"}, Key{"k2", "ponmlkjihgfedcba"}
	for _, method := range []string{"POST", "GET"} {
		c := hook(t, &Endpoint{Method: method, HMACSecret: "0123456789abcdef", JWT: JWT{Issuer: "issuer", Keys: []Key{key1, key2}}},
			func(w http.ResponseWriter, q *http.Request) {
				payload, _ := io.ReadAll(q.Body)
				if method == "GET" {
					payload = []byte(q.URL.RawQuery)
				}
				token, now := q.Header.Get("Authorization"), time.Now()
				if err := verify(token, payload, now, key2, key1); err != nil {
					t.Errorf("%s: %v", method, err)
				}
				if err := verify(token, payload, now.Add(tokenLife+time.Second), key1); !errors.Is(err, jwt.ErrTokenExpired) {
					t.Errorf("replayed late: %v", err)
				}
				if err := verify(token, payload, now.Add(-time.Minute), key1); !errors.Is(err, jwt.ErrTokenNotValidYet) {
					t.Errorf("before its time: %v", err)
				}
				if err := verify(token, payload, now.Add(-clockSkew/2), key1); err != nil {
					t.Errorf("by a clock that is behind: %v", err)
				}
				if err := verify(token, append(payload, ' '), now, key1); err == nil {
					t.Error("a changed body verifies")
				}
				if err := verify(token, payload, now, key2); err == nil {
					t.Error("it is not the first key that signs")
				}
				var at int64
				var mac string
				if _, err := fmt.Sscanf(q.Header.Get("X-Signature"), "t=%d,v1=%s", &at, &mac); err != nil || now.Unix()-at > 5 {
					t.Errorf("%v %d", err, at)
				}
				if want := hex.EncodeToString(signature("0123456789abcdef", fmt.Sprint(at), payload)); mac != want {
					t.Errorf("X-Signature %s, want %s", mac, want)
				}
				if mac == hex.EncodeToString(signature("0123456789abcdef", fmt.Sprint(at+1), payload)) {
					t.Error("the time is not signed")
				}
				io.WriteString(w, "{}")
			})
		if _, err := c.Send(t.Context(), c.url, testMessage(), "e1", false); err != nil {
			t.Error(err)
		}
	}
}

// Only an attempt on which nothing has been asked is made again, once.
func TestOnlyAFailureToConnectIsTriedAgain(t *testing.T) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := socket.Addr().String()
	socket.Close() // nobody is there
	client := testClient(t, &Endpoint{AllowHTTP: true, AllowPrivate: []string{"127.0.0.1"}})
	time.AfterFunc(retryPause/2, func() {
		if socket, err = net.Listen("tcp", at); err != nil {
			return
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })}
		t.Cleanup(func() { server.Close() })
		_ = server.Serve(socket)
	})
	if data, err := client.Send(t.Context(), "http://"+at, testMessage(), "e1", false); err != nil || string(data) != "{}" {
		t.Errorf("%s, %v", data, err)
	}

	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, c := range []struct {
		errs  []error // of the attempts
		cause error   // of a caller who gives up meanwhile
		asked int
	}{
		{[]error{dial, nil}, nil, 2},
		{[]error{&net.OpError{Op: "proxyconnect", Err: dial.Err}, nil}, nil, 2},
		{[]error{dial, dial, nil}, nil, 2},
		{[]error{&net.OpError{Op: "read", Err: dial.Err}, nil}, nil, 1},
		{[]error{io.ErrUnexpectedEOF, nil}, nil, 1},
		{[]error{dial, nil}, errors.New("gone"), 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			client := web(func(*http.Request) (int, string, error) { asked++; return 200, "{}", c.errs[asked-1] }).client()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if c.cause != nil {
				time.AfterFunc(retryPause/2, func() { cancel(c.cause) })
			}
			start := time.Now()
			_, err := client.Send(ctx, "https://hooks.example/", testMessage(), "e1", false)
			if c.cause != nil && time.Since(start) != retryPause/2 {
				t.Errorf("a caller who gave up is noticed after %v", time.Since(start))
			}
			if asked != c.asked || (c.errs[asked-1] == nil) != (err == nil) || c.cause != nil && !errors.Is(err, c.cause) {
				t.Errorf("%v: asked %d times, %v", c.errs, asked, err)
			}
		})
	}

	var asked atomic.Int32
	h := hook(t, &Endpoint{}, func(http.ResponseWriter, *http.Request) { asked.Add(1); panic(http.ErrAbortHandler) })
	if _, err := h.Send(t.Context(), h.url, testMessage(), "e1", false); err == nil || asked.Load() != 1 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}

func TestWhatIsWrongWithAnEndpointIsSaidByItsKey(t *testing.T) {
	bad := &Endpoint{Method: "DELETE", Headers: http.Header{"X-Event-Id": {"1"}}, HMACSecret: "short", JWT: JWT{Keys: []Key{{"k", "short"}}},
		AllowPrivate: []string{"a/b"}, ClientCert: "c.pem", Proxy: "ftp://x"}
	keys := map[string]bool{}
	bad.Check(func(key string, err error) {
		if err != nil {
			keys[key] = true
		}
	})
	for _, key := range []string{"method", "headers", "hmac_secret", "jwt", "allow_private", "client_cert", "proxy"} {
		if !keys[key] {
			t.Errorf("nothing is said of %s", key)
		}
	}
	if err := bad.CheckURL("https://user:geheim@h.example/"); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("a password in a URL: %v", err)
	}
}
