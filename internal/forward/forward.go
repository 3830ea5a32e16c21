// Package forward carries HTTP requests to the node of a cluster that has what they are
// about, and its answers back. Who asks is known by then: the asking node has let him in.
package forward

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

const (
	// MaxBytes bounds what goes to another node and comes back, as it goes: what is
	// larger the store's servers would not pass on.
	MaxBytes = 1 << 20
	// maxBody bounds a body when it is unpacked.
	maxBody = 16 << 20
	// packFrom is the size from which a body is packed.
	packFrom = 1 << 10
)

// ErrMalformed means that what came is no request, or no answer, of this version.
var ErrMalformed = errors.New("what another node sent cannot be read")

// A Request is one that another node is to answer.
type Request struct {
	Method string      `json:"method"`
	Target string      `json:"target"` // path and query, as they came
	Header http.Header `json:"header,omitempty"`
	// Who says who asks, in a form of the resource's own.
	Who  json.RawMessage `json:"who,omitempty"`
	Body []byte          `json:"-"`
}

// An Answer is what a Request is answered by.
type Answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"-"`
}

// Of makes a Request out of r, with those fields of its header that the resource reads. One
// for the head of an answer asks for all of it, whose length has to be told.
func Of(r *http.Request, body []byte, fields ...string) *Request {
	q := &Request{Method: r.Method, Target: r.URL.RequestURI(), Header: http.Header{}, Body: body}
	if q.Method == http.MethodHead {
		q.Method = http.MethodGet
	}
	for _, name := range fields {
		if values := r.Header.Values(name); len(values) > 0 {
			q.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	return q
}

// Encode returns the request as bytes.
func (q *Request) Encode() ([]byte, error) { return encode(q, q.Body) }

// Decode reads what Encode returned.
func Decode(data []byte) (*Request, error) {
	q := &Request{}
	var err error
	if q.Body, err = decode(data, q); err != nil {
		return nil, err
	}
	if u, err := url.ParseRequestURI(q.Target); err != nil || u.Path == "" || u.Host != "" || q.Method == "" {
		return nil, ErrMalformed
	}
	return q, nil
}

// HTTP is the request as a handler takes it. ctx is the one that it has.
func (q *Request) HTTP(ctx context.Context) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, q.Method, q.Target, bytes.NewReader(q.Body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r.RequestURI = q.Target
	for name, values := range q.Header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	return r, nil
}

// Encode returns the answer as bytes.
func (a *Answer) Encode() ([]byte, error) { return encode(a, a.Body) }

// DecodeAnswer reads what Answer.Encode returned.
func DecodeAnswer(data []byte) (*Answer, error) {
	a := &Answer{}
	var err error
	if a.Body, err = decode(data, a); err != nil {
		return nil, err
	}
	if a.Status < 200 || a.Status > 599 {
		return nil, ErrMalformed
	}
	return a, nil
}

// Write responds with the answer to a request of that method.
func (a *Answer) Write(w http.ResponseWriter, method string) {
	h := w.Header()
	for name, values := range a.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	if len(a.Body) > 0 || a.Status != http.StatusNotModified && a.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	w.WriteHeader(a.Status)
	if method != http.MethodHead {
		_, _ = w.Write(a.Body) // nobody is left to be told
	}
}

// encode is the length of the head, the head as JSON, a byte that says whether the body is
// packed, and the body.
func encode(head any, body []byte) ([]byte, error) {
	text, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	out := binary.AppendUvarint(nil, uint64(len(text)))
	out = append(out, text...)
	if len(body) < packFrom {
		out = append(append(out, 0), body...)
	} else {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(body); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		out = append(append(out, 1), b.Bytes()...)
	}
	if len(out) > MaxBytes {
		return nil, fmt.Errorf("%d bytes are more than go to another node", len(out))
	}
	return out, nil
}

// decode reads what encode returned.
func decode(data []byte, head any) (body []byte, err error) {
	size, n := binary.Uvarint(data)
	if n <= 0 || size >= uint64(len(data)-n) {
		return nil, ErrMalformed
	}
	text, rest := data[n:n+int(size)], data[n+int(size):]
	if json.Unmarshal(text, head) != nil {
		return nil, ErrMalformed
	}
	switch body = rest[1:]; rest[0] {
	case 0:
		return body, nil
	case 1:
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, ErrMalformed
		}
		body, err = io.ReadAll(io.LimitReader(z, maxBody+1))
		if err != nil || len(body) > maxBody {
			return nil, ErrMalformed
		}
		return body, nil
	}
	return nil, ErrMalformed
}

// A Recorder is a response that is kept, to become an Answer. Its owner is one goroutine.
type Recorder struct {
	Answer
	wrote bool
}

// NewRecorder returns one that nothing was written to.
func NewRecorder() *Recorder {
	return &Recorder{Answer: Answer{Status: http.StatusOK, Header: http.Header{}}}
}

// Header implements http.ResponseWriter.
func (w *Recorder) Header() http.Header { return w.Answer.Header }

// WriteHeader implements http.ResponseWriter.
func (w *Recorder) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.Status, w.wrote = status, true
	}
}

// Write implements http.ResponseWriter.
func (w *Recorder) Write(b []byte) (int, error) {
	w.wrote = true
	w.Body = append(w.Body, b...)
	return len(b), nil
}
