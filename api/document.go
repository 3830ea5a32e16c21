package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the documents
	"encoding/hex"
	"net/http"
	"strconv"

	"github.com/gorilla/mux"
)

// The API describes itself. Tests compare both documents with the code.
var (
	//go:embed openapi.yaml
	openAPIDocument []byte
	//go:embed asyncapi.yaml
	asyncAPIDocument []byte
)

const (
	yamlType = "application/yaml" // RFC 9512
	// documentCache lets clients keep a document: it changes with the program only.
	documentCache = "public, max-age=3600"
)

// documentRoutes names the documents. Everybody may read them: they say nothing of
// who uses the service.
func (a *API) documentRoutes(r *mux.Router) {
	a.resource(r, "/openapi.yaml", methods{http.MethodGet: {do: document(openAPIDocument), open: true, accept: []string{yamlType}}})
	a.resource(r, "/asyncapi.yaml", methods{http.MethodGet: {do: document(asyncAPIDocument), open: true, accept: []string{yamlType}}})
}

// document answers with text, or that the client has it already.
func document(text []byte) handler {
	text = bytes.TrimSpace(text)
	sum := sha256.Sum256(text)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return func(w http.ResponseWriter, r *request) *Problem {
		h := w.Header()
		h.Set("ETag", tag)
		h.Set("Cache-Control", documentCache)
		if matchesTag(r.Header["If-None-Match"], tag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		h.Set("Content-Type", yamlType)
		h.Set("Content-Length", strconv.Itoa(len(text)+1))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(append(text[:len(text):len(text)], '\n')) // nobody is left to be told
		return nil
	}
}
