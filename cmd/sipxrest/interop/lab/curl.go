package lab

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Answer is what curl got.
type Answer struct {
	Code int
	Body string
}

// curlEnd separates the body from the status in curl's output.
const curlEnd = "\n--curl-end--"

// Curl runs the real curl with arguments as an operator would type them and
// returns the last answer, after any challenge.
func (s *Service) Curl(args ...string) Answer {
	s.lab.tb.Helper()
	args = append([]string{"--silent", "--show-error", "--insecure", "--max-time", strconv.Itoa(int(Patience.Seconds())),
		"--write-out", curlEnd + "%{http_code}"}, args...)
	cmd := exec.Command("curl", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	// An operator's ~/.curlrc and proxy settings are not what is tested.
	cmd.Env = []string{"HOME=/nonexistent", "PATH=/usr/bin:/bin", "no_proxy=*"}
	out, err := cmd.Output()
	if err != nil {
		s.lab.tb.Fatalf("curl %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	body, code, _ := strings.Cut(string(out), curlEnd)
	n, err := strconv.Atoi(code)
	if err != nil {
		s.lab.tb.Fatalf("curl %s: no status in %q", strings.Join(args, " "), out)
	}
	return Answer{n, body}
}

// Post places a call as the trusted peer and fails the test when it is not
// accepted. path is /callcontroller/… with its query.
func (s *Service) Post(path string) {
	s.lab.tb.Helper()
	if a := s.Trusted("POST", path); a.Code != 200 || a.Body != "" {
		s.lab.tb.Fatalf("POST %s: %d %q, want 200 without a body", path, a.Code, a.Body)
	}
}

// Trusted asks the trusted listener from TrustedIP.
func (s *Service) Trusted(method, path string) Answer {
	s.lab.tb.Helper()
	return s.Curl("--interface", TrustedIP, "--request", method, s.Internal+path)
}

// Status is one line of the status document.
type Status struct {
	Timestamp int64  `xml:"timestamp"`
	CallID    string `xml:"call-id"`
	Method    string `xml:"method"`
	Line      string `xml:"status-line"`
}

// String is "INVITE 200 OK": what tests compare.
func (s Status) String() string {
	return s.Method + " " + strings.TrimPrefix(s.Line, "SIP/2.0 ")
}

const namespace = "http://www.sipfoundry.org/sipX/schema/xml/call-status-00-00"

// StatusLines gets the status document of a call placed by REFER.
func (s *Service) StatusLines(path string) []Status {
	s.lab.tb.Helper()
	a := s.Trusted("GET", path)
	lines, err := parseStatus(a)
	if err != nil {
		s.lab.tb.Fatalf("GET %s: %v: %d %q", path, err, a.Code, a.Body)
	}
	return lines
}

func parseStatus(a Answer) ([]Status, error) {
	var doc struct {
		XMLName xml.Name
		Status  []Status `xml:"status"`
	}
	switch {
	case a.Code != 200:
		return nil, errors.New("not answered with 200")
	case !strings.HasPrefix(a.Body, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"):
		return nil, errors.New("no XML declaration in front")
	}
	if err := xml.Unmarshal([]byte(a.Body), &doc); err != nil {
		return nil, err
	}
	if (doc.XMLName != xml.Name{Space: namespace, Local: "status-lines"}) {
		return nil, fmt.Errorf("root element %v", doc.XMLName)
	}
	for i, line := range doc.Status {
		switch age := time.Since(time.UnixMilli(line.Timestamp)); {
		case age < -time.Second || age > time.Hour:
			return nil, fmt.Errorf("line %d has the time %v", i+1, time.UnixMilli(line.Timestamp))
		case i > 0 && line.Timestamp < doc.Status[i-1].Timestamp:
			return nil, fmt.Errorf("line %d is older than the one before", i+1)
		case line.CallID == "":
			return nil, fmt.Errorf("line %d has no Call-ID", i+1)
		}
	}
	return doc.Status, nil
}

// AwaitStatus polls the status document until it has want's lines, in order
// and nothing else, and returns them. A line of want that ends in * is a prefix.
func (s *Service) AwaitStatus(path string, want ...string) []Status {
	s.lab.tb.Helper()
	var got []Status
	s.lab.until(100*time.Millisecond, func() string { return fmt.Sprintf("status lines of %s:\n  %q\nwant\n  %q", path, got, want) }, func() bool {
		got = s.StatusLines(path)
		return same(got, want)
	})
	return got
}

// AwaitDialogs polls the document of a call placed by INVITE until it lists
// dialogs of these states, in any order.
func (s *Service) AwaitDialogs(path string, want ...string) {
	s.lab.tb.Helper()
	var got []string
	slices.Sort(want)
	s.lab.until(100*time.Millisecond, func() string { return fmt.Sprintf("dialogs of %s: %q, want %q", path, got, want) }, func() bool {
		query := "?sipMethod=INVITE"
		if strings.Contains(path, "?") {
			query = ""
		}
		a := s.Trusted("GET", path+query)
		var doc struct {
			XMLName xml.Name
			Dialog  []struct {
				State string `xml:"dialog-state"`
			} `xml:"dialog"`
		}
		if err := xml.Unmarshal([]byte(a.Body), &doc); err != nil || a.Code != 200 || (doc.XMLName != xml.Name{Space: namespace, Local: "dialogs"}) {
			s.lab.tb.Fatalf("GET %s: %d %q: %v", path, a.Code, a.Body, err)
		}
		got = nil
		for _, d := range doc.Dialog {
			got = append(got, d.State)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

func same(got []Status, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	for i, w := range want {
		if prefix, ok := strings.CutSuffix(w, "*"); ok {
			if !strings.HasPrefix(got[i].String(), prefix) {
				return false
			}
		} else if got[i].String() != w {
			return false
		}
	}
	return true
}
