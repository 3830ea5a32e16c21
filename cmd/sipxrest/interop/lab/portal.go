package lab

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
)

// Portal is a web site with a page for browsers, and with the service behind it, as a
// reverse proxy of a company has it: to the page both are one origin. It notes how
// streams of events are opened, can cut them, and stays when the service is started
// anew.
type Portal struct {
	URL string

	lab  *Lab
	site *httptest.Server

	mu      sync.Mutex // guards the next ones
	service *url.URL
	opened  []*OpenedStream
}

// OpenedStream is a request for a stream of events.
type OpenedStream struct {
	Path string
	// Last is its Last-Event-ID, "" for none.
	Last string
	// Code is the status that it got; 0 before that, or when the service was away.
	Code int
	// IDs are those that came, also of blocks without an event, in their order.
	IDs []string

	cut context.CancelFunc
}

// Portal serves the page of a file before the PIN listener of s. Where s is away it
// drops connections.
func (l *Lab) Portal(s *Service, file string) *Portal {
	l.tb.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		l.tb.Fatal(err)
	}
	p := &Portal{lab: l}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1, // at once
		Rewrite: func(r *httputil.ProxyRequest) {
			p.mu.Lock()
			defer p.mu.Unlock()
			r.SetURL(p.service)
			r.Out.Host = r.In.Host // the gate compares it with Origin
		},
		ModifyResponse: func(r *http.Response) error {
			if o, ok := r.Request.Context().Value(openedKey{}).(*OpenedStream); ok {
				p.mu.Lock()
				defer p.mu.Unlock()
				o.Code = r.StatusCode
				r.Body = &noting{ReadCloser: r.Body, portal: p, of: o}
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write(page)
			return
		}
		if r.Header.Get("Accept") == "text/event-stream" {
			ctx, cut := context.WithCancel(r.Context())
			defer cut()
			o := &OpenedStream{Path: r.URL.Path, Last: r.Header.Get("Last-Event-ID"), cut: cut}
			p.mu.Lock()
			p.opened = append(p.opened, o)
			p.mu.Unlock()
			r = r.WithContext(context.WithValue(ctx, openedKey{}, o))
		}
		proxy.ServeHTTP(w, r)
	}))
	p.URL = p.site.URL
	l.tb.Cleanup(func() {
		p.CutAll()
		p.site.Close()
	})
	p.Before(s)
	return p
}

// openedKey is the context's key of an OpenedStream.
type openedKey struct{}

// Before has the portal stand before another service.
func (p *Portal) Before(s *Service) {
	p.lab.tb.Helper()
	u, err := url.Parse(s.Plain)
	if err != nil {
		p.lab.tb.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.service = u
}

// CutAll cuts all streams that are open.
func (p *Portal) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.opened {
		o.cut()
	}
}

// Opened are the requests for streams of a path, the oldest first.
func (p *Portal) Opened(path string) (list []OpenedStream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.opened {
		if o.Path == path {
			list = append(list, *o)
		}
	}
	return list
}

// LogIn opens a tab with the portal's page, whose user has entered the PIN of user.
// The browser keeps it for this site.
func (p *Portal) LogIn(user string) *Tab {
	p.lab.tb.Helper()
	tab := p.lab.OpenTab(strings.Replace(p.URL, "://", "://"+user+":"+Password+"@", 1) + "/v1/me")
	tab.Go(p.URL + "/")
	return tab
}

// noting notes the ids in what it reads.
type noting struct {
	io.ReadCloser
	portal *Portal
	of     *OpenedStream
	line   []byte // what has come of the current one
}

func (n *noting) Read(to []byte) (int, error) {
	got, err := n.ReadCloser.Read(to)
	n.portal.mu.Lock()
	defer n.portal.mu.Unlock()
	for part := range bytes.Lines(to[:got]) {
		if n.line = append(n.line, part...); !bytes.HasSuffix(n.line, []byte("\n")) {
			continue
		}
		if id, ok := bytes.CutPrefix(n.line, []byte("id: ")); ok {
			n.of.IDs = append(n.of.IDs, string(bytes.TrimSpace(id)))
		}
		n.line = n.line[:0]
	}
	return got, err
}
