// Package console is the console in the browser: one page with its scripts, its
// style and its texts, embedded in the program. It asks the API at /v1 for all that
// it shows, with what its user signs in by, so it has no rights of its own. Nothing
// here reads a request's credentials, and no answer depends on them.
package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Path is where the page is. The files that it loads are below it.
const Path = "/console"

//go:embed page
var embedded embed.FS

// policy is what the page may do in a browser: load its own files, ask its own host,
// and stand in no frame. No text that reaches it becomes a script or markup: code in
// the page is refused, and so are strings where elements are made of markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// types are those of the files, whatever the system's table says.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".json": "application/json",
	".svg":  "image/svg+xml",
}

// file is one file of the page, as it is sent.
type file struct {
	kind, etag string
	body       []byte
}

// console answers with the files; nothing of it changes.
type console struct{ files map[string]file }

// Owns reports whether a request asks for the console.
func Owns(r *http.Request) bool {
	return r.URL.Path == Path || strings.HasPrefix(r.URL.Path, Path+"/")
}

// New returns the handler of what Owns reports. It answers over TLS only: PINs and
// keys are entered in the page.
func New() http.Handler {
	c := &console{files: map[string]file{}}
	err := fs.WalkDir(embedded, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		kind, ok := types[path.Ext(name)]
		if !ok {
			return fmt.Errorf("%s has no type", name)
		}
		sum := sha256.Sum256(body)
		c.files[strings.TrimPrefix(name, "page")] = file{kind: kind, body: body, etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
		return nil
	})
	if err != nil {
		panic(err) // the program was built wrongly; a test makes one
	}
	c.files["/"] = c.files["/index.html"]
	return c
}

func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, Path)
	f, found := c.files[name]
	switch {
	case r.TLS == nil:
		Fail(w, r, http.StatusNotFound, "The console is on the listeners with TLS only")
	case name != "" && !found:
		Fail(w, r, http.StatusNotFound, "The console has no such file")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		Fail(w, r, http.StatusMethodNotAllowed, "The console can only be read")
	case name == "":
		// Relative, for the path may be another before a reverse proxy.
		w.Header().Set("Location", strings.TrimPrefix(Path, "/")+"/")
		Fail(w, r, http.StatusPermanentRedirect, "The console is at "+Path+"/")
	default:
		f.send(w, r)
	}
}

// send answers with the file, or says that the browser has it already. The name of a
// file stays the same in the next version, so a browser asks each time.
func (f *file) send(w http.ResponseWriter, r *http.Request) {
	h := secure(w)
	h.Set("Content-Security-Policy", policy)
	h.Set("ETag", f.etag)
	h.Set("Cache-Control", "no-cache")
	if has(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(f.body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(f.body) // the client may be gone
}

// has reports whether an If-None-Match names etag (RFC 9110 §13.1.2).
func has(header, etag string) bool {
	for item := range strings.SplitSeq(header, ",") {
		if item = strings.TrimSpace(item); item == "*" || strings.TrimPrefix(item, "W/") == etag {
			return true
		}
	}
	return false
}

// Fail answers a status with a short text.
func Fail(w http.ResponseWriter, _ *http.Request, status int, text string) {
	h := secure(w)
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// secure sets what each answer has.
func secure(w http.ResponseWriter) http.Header {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	return h
}
