package demo

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxDocument bounds what is read of an answer, in bytes.
const maxDocument = 1 << 20

// path is the call of 201 to 202.
const path = "/callcontroller/201/202"

// newClient is what `curl -k` is: the certificate was made a moment ago, and
// nobody could know it.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

// curl is the command line that does the same.
func curl(option, method, base string) string {
	if method == http.MethodGet {
		return fmt.Sprintf("curl %s -u 201:%s %s%s", option, pin, base, path)
	}
	return fmt.Sprintf("curl %s -u 201:%s -X %s %s%s", option, pin, method, base, path)
}

func (s *stage) request(ctx context.Context, method string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.https+path, nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth("201", pin)
	res, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument))
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s: %s: %s", method, path, res.Status, body)
	}
	return string(body), nil
}

func (s *stage) post(ctx context.Context) error {
	_, err := s.request(ctx, http.MethodPost)
	return err
}

// watch prints the status document as it grows, until it tells the outcome.
// A client would poll so, or less often.
func (s *stage) watch(ctx context.Context) error {
	const closing = "</status-lines>"
	shown := ""
	for {
		text, err := s.request(ctx, http.MethodGet)
		if err != nil {
			return err
		}
		grown, ok := strings.CutSuffix(strings.TrimRight(text, "\n"), closing)
		if !ok || !strings.HasPrefix(grown, shown) {
			return fmt.Errorf("the status document does not go on from what it was:\n%s", text)
		}
		s.print(grown[len(shown):])
		shown = grown
		var doc document
		if err := xml.Unmarshal([]byte(text), &doc); err != nil {
			return fmt.Errorf("the status document cannot be read: %w", err)
		}
		if slices.ContainsFunc(doc.Status, status.outcome) {
			s.print(closing + "\n")
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// print indents whole lines.
func (s *stage) print(lines string) {
	for line := range strings.Lines(lines) {
		fmt.Fprint(s.out, "   "+line)
	}
}

// document is the part of the status document that tells the outcome.
type document struct {
	Status []status `xml:"status"`
}

type status struct {
	Method string `xml:"method"`
	Line   string `xml:"status-line"`
}

// outcome reports whether nothing of interest follows: 201 has reported a
// final response of 202, or a request of ours was refused for good.
func (s status) outcome() bool {
	var code int
	if _, err := fmt.Sscanf(s.Line, "SIP/2.0 %d", &code); err != nil {
		return false
	}
	if s.Method == "NOTIFY" {
		return code >= 200
	}
	return code >= 300 && code != http.StatusUnauthorized && code != http.StatusProxyAuthRequired
}
