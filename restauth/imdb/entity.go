package imdb

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/bson"
)

// A User is one user as sipXconfig has written him. His secrets are in no log.
type User struct {
	ID          string // of the document, "User12"
	Name        string // "201"
	Identity    string // "201@example.com"; "" when there is none
	DisplayName string
	Aliases     []string
	PINToken    string // the PIN in the clear, or hex MD5(user:realm:PIN)
	SIPPassword string // in the clear, or ""
	SIPHash     string // hex MD5(user:realm:SIP password), or ""
}

// LogValue keeps the secrets out of every log.
func (u User) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String keeps the secrets out of every formatted text.
func (u User) String() string { return "user " + u.Name + " [redacted]" }

// GoString is String, for %#v.
func (u User) GoString() string { return u.String() }

// Users is what was read at one time.
type Users struct {
	List []User
	// Sum differs when anything of List does.
	Sum [sha256.Size]byte
}

// The names of the fields that count. Every other one stays in the database.
const (
	fieldID          = "_id"
	fieldValid       = "vld"
	fieldName        = "uid"
	fieldIdentity    = "ident"
	fieldDisplayName = "dspl"
	fieldPIN         = "pntk"
	fieldSIPPassword = "pstk"
	fieldSIPHash     = "hshpstk"
	fieldAliases     = "als"
	fieldAlias       = "id" // of one of fieldAliases
)

// Bounds of what is read. sipXcom was made for some ten thousand users.
const (
	maxUsers = 200_000
	maxBytes = 64 << 20 // of all documents, in BSON
)

// ErrTooLarge says that there is more than is read.
var ErrTooLarge = fmt.Errorf("more than %d users or %d MiB, and no more is read", maxUsers, maxBytes>>20)

// reading takes the documents one after the other.
type reading struct {
	list  []User
	bytes int
	sum   hash.Hash
}

func newReading() *reading { return &reading{sum: sha256.New()} }

// add takes a document. One that is no valid user counts, and is left out: a
// conference, a hunt group, or a user who is switched off.
func (r *reading) add(doc bson.Raw) error {
	if r.bytes += len(doc); r.bytes > maxBytes || len(r.list) >= maxUsers {
		return ErrTooLarge
	}
	if err := doc.Validate(); err != nil {
		return fmt.Errorf("a document cannot be read: %w", err)
	}
	u, ok := entity(doc)
	if !ok {
		return nil
	}
	r.list = append(r.list, u)
	for _, s := range append([]string{u.ID, u.Name, u.Identity, u.DisplayName, u.PINToken, u.SIPPassword, u.SIPHash}, u.Aliases...) {
		r.sum.Write(strconv.AppendInt(nil, int64(len(s)), 10))
		r.sum.Write([]byte{' '})
		r.sum.Write([]byte(s))
	}
	r.sum.Write([]byte{'\n'})
	return nil
}

func (r *reading) users() *Users {
	u := &Users{List: r.list}
	r.sum.Sum(u.Sum[:0])
	return u
}

// entity reads a document that is a valid user. sipXrest: a valid one is
// {vld: true}, and a user's _id begins with "User". Aliases of every relation
// count, as they do when sipXrest looks for a name.
func entity(doc bson.Raw) (u User, ok bool) {
	if valid, is := doc.Lookup(fieldValid).BooleanOK(); !is || !valid {
		return u, false
	}
	if u.ID = text(doc, fieldID); !strings.HasPrefix(u.ID, "User") {
		return u, false
	}
	u.Name, u.Identity, u.DisplayName = text(doc, fieldName), text(doc, fieldIdentity), text(doc, fieldDisplayName)
	u.PINToken, u.SIPPassword, u.SIPHash = text(doc, fieldPIN), text(doc, fieldSIPPassword), text(doc, fieldSIPHash)
	aliases, is := doc.Lookup(fieldAliases).ArrayOK()
	if !is {
		return u, true
	}
	items, err := aliases.Values()
	if err != nil {
		return u, true
	}
	for _, item := range items {
		if one, is := item.DocumentOK(); is {
			if alias := text(one, fieldAlias); alias != "" && alias != u.Name {
				u.Aliases = append(u.Aliases, alias)
			}
		}
	}
	return u, true
}

// text is a field as text: a number is its digits, everything else that is no text
// is "".
func text(doc bson.Raw, field string) string {
	v := doc.Lookup(field)
	if s, ok := v.StringValueOK(); ok {
		return s
	}
	if n, ok := v.AsInt64OK(); ok && (v.Type == bson.TypeInt32 || v.Type == bson.TypeInt64) {
		return strconv.FormatInt(n, 10)
	}
	return ""
}

// IsExport reports whether data is what `mongoexport` writes: a JSON document on
// each line. No other file with users begins with a brace.
func IsExport(data []byte) bool {
	data = bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
	return len(data) > 0 && data[0] == '{'
}

// ReadExport reads such a file. The error names the document by its number, and
// holds nothing of what is in it.
func ReadExport(data []byte) (*Users, error) {
	r := newReading()
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	for n := 1; ; n++ {
		var one json.RawMessage
		err := d.Decode(&one)
		if errors.Is(err, io.EOF) {
			return r.users(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: is no JSON: want what mongoexport writes, without --jsonArray", n)
		}
		var doc bson.D
		if err := bson.UnmarshalExtJSON(one, false, &doc); err != nil {
			return nil, fmt.Errorf("document %d: is no document of MongoDB: want what mongoexport writes, without --jsonArray", n)
		}
		raw, err := bson.Marshal(doc)
		if err == nil {
			err = r.add(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
	}
}
