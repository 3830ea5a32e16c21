package forward

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestARequestArrivesAsItWas(t *testing.T) {
	for _, body := range []string{"", `{"to":"203"}`, strings.Repeat("long ", 5000)} {
		r := httptest.NewRequest("POST", "/v1/calls/call_1%2F2/actions/dtmf?agent=201", strings.NewReader(body))
		r.Header.Set("Idempotency-Key", "k1")
		r.Header.Set("Authorization", "Bearer secret")
		q := Of(r, []byte(body), "Idempotency-Key", "If-Match")
		q.Who = []byte(`{"name":"201"}`)
		data, err := q.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("secret")) {
			t.Error("a field is carried that nobody asked for")
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		h, err := got.HTTP(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if h.Method != "POST" || h.URL.EscapedPath() != "/v1/calls/call_1%2F2/actions/dtmf" || h.URL.RawQuery != "agent=201" ||
			h.Header.Get("Idempotency-Key") != "k1" || string(got.Who) != `{"name":"201"}` || string(got.Body) != body {
			t.Errorf("it is %+v with %d bytes", h, len(got.Body))
		}
	}
}

func TestAnAnswerArrivesAsItWas(t *testing.T) {
	w := NewRecorder()
	w.Header().Set("Etag", `"7"`)
	w.WriteHeader(http.StatusAccepted)
	w.WriteHeader(http.StatusOK) // the first counts
	_, _ = w.Write([]byte("one "))
	_, _ = w.Write([]byte(strings.Repeat("two", 1000)))
	data, err := w.Encode()
	if err != nil {
		t.Fatal(err)
	}
	a, err := DecodeAnswer(data)
	if err != nil {
		t.Fatal(err)
	}
	got := httptest.NewRecorder()
	a.Write(got, http.MethodGet)
	if got.Code != http.StatusAccepted || got.Header().Get("Etag") != `"7"` || got.Body.String() != "one "+strings.Repeat("two", 1000) ||
		got.Header().Get("Content-Length") != "3004" {
		t.Errorf("%d %v %d bytes", got.Code, got.Header(), got.Body.Len())
	}
	got = httptest.NewRecorder()
	a.Write(got, http.MethodHead)
	if got.Body.Len() != 0 || got.Header().Get("Content-Length") != "3004" {
		t.Error("HEAD has a body, or no length")
	}
}

func TestWhatIsTooLargeIsAnError(t *testing.T) {
	noise := make([]byte, MaxBytes)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	if _, err := (&Answer{Status: 200, Body: noise}).Encode(); err == nil {
		t.Error("a megabyte that cannot be packed goes")
	}
	data, err := (&Answer{Status: 200, Body: make([]byte, maxBody+1)}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeAnswer(data); !errors.Is(err, ErrMalformed) {
		t.Errorf("a bomb is unpacked: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, _ := (&Request{Method: "GET", Target: "/v1/calls/1", Body: []byte("x")}).Encode()
	packed, _ := (&Answer{Status: 200, Body: make([]byte, 2*packFrom)}).Encode()
	for _, seed := range [][]byte{nil, {0}, {2, '{', '}', 0}, {2, '{', '}', 1}, {2, '{', '}', 7}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 1}, good, packed} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if q, err := Decode(data); err == nil {
			if _, err := q.HTTP(t.Context()); err != nil && !errors.Is(err, ErrMalformed) {
				t.Error(err)
			}
		}
		if a, err := DecodeAnswer(data); err == nil {
			a.Write(httptest.NewRecorder(), http.MethodGet)
		}
	})
}
