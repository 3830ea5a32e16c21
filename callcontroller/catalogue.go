package callcontroller

import (
	"html"
	"net/http"
	"strconv"
	"strings"
)

// catalogue is the page at /, in the layout of sipXrest: what there is, for
// people and for monitors that ask whether the service is up.
type catalogue string

func newCatalogue(more []Service) catalogue {
	var b strings.Builder
	b.WriteString("<html><body>\n<h1>Available plugins</h1>\n<ul>\n")
	for _, s := range append([]Service{{
		Prefix:   "/callcontroller",
		Security: "LOCAL-AND-REMOTE",
		Description: "Third-party call control. Invoke this using the URI " +
			"/callcontroller/{callingParty}/{calledParty}?agent={agent}: POST places or transfers a call, GET tells its status, DELETE hangs it up.",
	}}, more...) {
		b.WriteString("<li>\n<b> URI Prefix : " + html.EscapeString(s.Prefix) + "</b>\n</li>\n")
		b.WriteString("<li><b>Security :</b>" + html.EscapeString(s.Security) + "</li>\n")
		b.WriteString("<li><b>Description : </b>" + html.EscapeString(s.Description) + "</li>\n")
	}
	b.WriteString("</ul>\n</body></html>\n")
	return catalogue(b.String())
}

func (page catalogue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Method "+clip(r.Method)+" not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	if r.Method == http.MethodGet {
		_, _ = w.Write([]byte(page))
	}
}
