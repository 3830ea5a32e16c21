package callcontroller

import (
	"net/http"
	"strconv"

	"github.com/beevik/etree"
)

// catalogue is the page at /, in the layout of sipXrest: what there is, for
// people and for monitors that ask whether the service is up.
type catalogue string

func newCatalogue(more []Service) catalogue {
	d := etree.NewDocument()
	d.WriteSettings.CanonicalEndTags = true // <li/> opens one to HTML
	body := d.CreateElement("html").CreateElement("body")
	// add adds an element with a line of its own, and what is in it.
	add := func(to *etree.Element, tag, text string) *etree.Element {
		e := to.CreateElement(tag)
		if text != "" {
			e.CreateText(text)
		}
		to.CreateText("\n")
		return e
	}
	body.CreateText("\n")
	add(body, "h1", "Available plugins")
	list := add(body, "ul", "\n")
	for _, s := range append([]Service{{
		Prefix:   "/callcontroller",
		Security: "LOCAL-AND-REMOTE",
		Description: "Third-party call control. Invoke this using the URI " +
			"/callcontroller/{callingParty}/{calledParty}?agent={agent}: POST places or transfers a call, GET tells its status, DELETE hangs it up.",
	}}, more...) {
		add(add(list, "li", "\n"), "b", " URI Prefix : "+s.Prefix)
		for _, line := range [][2]string{{"Security :", s.Security}, {"Description : ", s.Description}} {
			li := add(list, "li", "")
			li.CreateElement("b").CreateText(line[0])
			li.CreateText(line[1])
		}
	}
	d.CreateText("\n")
	page, err := d.WriteToString()
	if err != nil {
		return "" // bytes in memory take everything
	}
	return catalogue(page)
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
