package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sipxrest/restauth"
)

const (
	// maxParams bounds the parameters of a query.
	maxParams = 64
	// maxParam bounds one of them, in bytes.
	maxParam = 1024
)

// parameters reads the query of r. A name that the method does not know is refused,
// for a filter that is not looked at would answer another question.
func parameters(r *http.Request, m *method) (url.Values, *Problem) {
	known := append(slices.Clone(m.params), "agent")
	all := url.Values{}
	var wrong []MemberFault
	n := 0
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if pair == "" {
			continue
		}
		if n++; n > maxParams {
			return nil, invalid(MemberFault{Code: memberOutOfRange, Detail: fmt.Sprintf("at most %d parameters", maxParams)})
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || !utf8.ValidString(name) {
			name = rawName
		}
		rule := knownAs(known, name)
		if rule == "" {
			return nil, unknownParameter(name, known)
		}
		value, err := url.QueryUnescape(rawValue)
		if rule == "agent" || rule == "user*" || rule == "user" {
			var ok bool
			if value, ok = restauth.UserParam(rawValue); !ok { // a + begins a number there
				err = url.EscapeError(rawValue)
			}
		}
		switch {
		case err != nil || !utf8.ValidString(value):
			wrong = append(wrong, MemberFault{Parameter: name, Code: memberInvalid, Detail: "it is not percent-encoded UTF-8"})
		case len(value) > maxParam:
			wrong = append(wrong, MemberFault{Parameter: name, Code: memberOutOfRange, Detail: fmt.Sprintf("at most %d bytes", maxParam)})
		case len(all[name]) > 0 && (!strings.HasSuffix(rule, "*") || rule == "tag.*"):
			wrong = append(wrong, MemberFault{Parameter: name, Code: memberTwice, Detail: "give it once"})
		default:
			all[name] = append(all[name], value)
		}
	}
	if wrong != nil {
		return nil, invalid(wrong...)
	}
	return all, nil
}

// knownAs is the rule that a parameter is known by; "" for none.
func knownAs(known []string, name string) string {
	for _, k := range known {
		if name == strings.TrimSuffix(k, "*") && k != "tag.*" || k == "tag.*" && strings.HasPrefix(name, "tag.") && len(name) > len("tag.") {
			return k
		}
	}
	return ""
}

func unknownParameter(name string, known []string) *Problem {
	list := make([]string, len(known))
	for i, k := range known {
		if list[i] = strings.TrimSuffix(k, "*"); k == "tag.*" {
			list[i] = "tag.KEY"
		}
	}
	slices.Sort(list)
	p := refuse(UnknownParameter, clip(name, 64), strings.Join(list, ", "))
	p.Supported = list
	return p
}

// wrongParam is the problem of one parameter.
func wrongParam(name, code, detail string) *Problem {
	return invalid(MemberFault{Parameter: name, Code: code, Detail: detail})
}

// number reads a parameter as a whole number from low to high.
func (r *request) number(name string, absent, low, high int) (int, *Problem) {
	if !r.query.Has(name) {
		return absent, nil
	}
	n, err := strconv.Atoi(r.query.Get(name))
	if err != nil || n < low || n > high {
		return 0, wrongParam(name, memberOutOfRange, fmt.Sprintf("a whole number from %d to %d", low, high))
	}
	return n, nil
}

// word reads a parameter that is one of some words.
func (r *request) word(name string, words ...string) (string, *Problem) {
	if !r.query.Has(name) {
		return "", nil
	}
	text := r.query.Get(name)
	if !slices.Contains(words, text) {
		return "", wrongParam(name, memberInvalid, "one of: "+strings.Join(words, ", "))
	}
	return text, nil
}

// words are likewise the values of one that may be repeated.
func (r *request) words(name string, words ...string) ([]string, *Problem) {
	for _, text := range r.query[name] {
		if !slices.Contains(words, text) {
			return nil, wrongParam(name, memberInvalid, "one of: "+strings.Join(words, ", "))
		}
	}
	return r.query[name], nil
}

// truth reads a parameter that is on or off.
func (r *request) truth(name string) (bool, *Problem) {
	switch r.query.Get(name) {
	case "1", "true":
		return true, nil
	case "":
		if !r.query.Has(name) {
			return false, nil
		}
	case "0", "false":
		return false, nil
	}
	return false, wrongParam(name, memberInvalid, "1 or 0")
}

// time reads a parameter as a time of RFC 3339.
func (r *request) time(name string) (time.Time, *Problem) {
	if !r.query.Has(name) {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, r.query.Get(name))
	if err != nil {
		return time.Time{}, wrongParam(name, memberInvalid, "a time such as 2026-11-30T12:00:00Z")
	}
	return at, nil
}

// tags reads the parameters tag.KEY.
func (r *request) tags() map[string]string {
	var tags map[string]string
	for name, values := range r.query {
		if key, ok := strings.CutPrefix(name, "tag."); ok {
			if tags == nil {
				tags = map[string]string{}
			}
			tags[key] = values[0]
		}
	}
	return tags
}

// Bounds of pages of resources. Those of events have others.
const (
	pageDefault = 50
	pageMost    = 100
)

// pageParams are the parameters that every list has.
var pageParams = []string{"limit", "cursor"}

// page reads limit and cursor. What the cursor holds is the resource's; one that
// was given out for another question is refused.
func (r *request) page() (limit int, cursor string, why *Problem) {
	if limit, why = r.number("limit", pageDefault, 1, pageMost); why != nil {
		return 0, "", why
	}
	if !r.query.Has("cursor") {
		return limit, "", nil
	}
	data, err := base64.RawURLEncoding.DecodeString(r.query.Get("cursor"))
	mark := r.question()
	if err != nil || len(data) <= len(mark) || !bytes.Equal(data[:len(mark)], mark) {
		return 0, "", refuse(InvalidCursor)
	}
	return limit, string(data[len(mark):]), nil
}

// question marks what a page belongs to: the path, the filters and who asks.
func (r *request) question() []byte {
	q := url.Values{}
	for name, values := range r.query {
		if name != "cursor" && name != "limit" {
			q[name] = values
		}
	}
	sum := sha256.Sum256([]byte(r.URL.Path + "\n" + q.Encode() + "\n" + r.who.rateName()))
	return sum[:8]
}

// A list is a page as it is sent.
type list[T any] struct {
	Data    []T     `json:"data"`
	HasMore bool    `json:"has_more"`
	Next    *string `json:"next"`
}

// sendPage answers with a page; next is where the following one begins, "" when
// there is none.
func sendPage[T any](w http.ResponseWriter, r *request, data []T, next string) *Problem {
	if data == nil {
		data = []T{}
	}
	l := list[T]{Data: data}
	if next != "" {
		text := base64.RawURLEncoding.EncodeToString(append(r.question(), next...))
		l.HasMore, l.Next = true, &text
		r.linkNext(w, "cursor", text)
	}
	return send(w, http.StatusOK, l)
}

// linkNext adds a Link to the following page (RFC 8288).
func (r *request) linkNext(w http.ResponseWriter, name, value string) {
	q := url.Values{}
	for n, values := range r.query {
		q[n] = values
	}
	q.Set(name, value)
	w.Header().Add("Link", "<"+r.URL.EscapedPath()+"?"+q.Encode()+`>; rel="next"`)
}
