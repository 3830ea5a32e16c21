package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 64 << 10

// maxFaults bounds what is said of one body.
const maxFaults = 50

// read reads the body of r as JSON into a struct. Members that the struct does not
// have are refused: one that is misspelt must not be dropped in silence. All that
// is wrong is said at once. optional lets the body be missing. The raw bytes are
// returned, too, for who compares bodies.
func read(w http.ResponseWriter, r *request, into any, optional bool, types ...string) ([]byte, *Problem) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, refuse(BodyTooLarge)
	case err != nil:
		return nil, refuse(InvalidJSON, "it was cut short")
	case len(bytes.TrimSpace(data)) == 0 && optional:
		return data, nil
	}
	if types == nil {
		types = []string{"application/json"}
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || !slices.Contains(types, kind) || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, refuse(UnsupportedMediaType, strings.Join(types, " or "), cmpOr(clip(r.Header.Get("Content-Type"), 80), "none")).with("Accept-Post", strings.Join(types, ", "))
	}
	return data, parse(data, into)
}

// parse reads JSON into the struct that into points to.
func parse(data []byte, into any) *Problem {
	if why := syntax(data); why != "" {
		return refuse(InvalidJSON, why)
	}
	var d decoding
	d.value(data, reflect.ValueOf(into).Elem(), "")
	if len(d.wrong) > 0 {
		return invalid(d.wrong...)
	}
	return nil
}

// syntax says what is wrong with JSON; "" for nothing.
func syntax(data []byte) string {
	if !utf8.Valid(data) {
		return "it is not UTF-8"
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return "it is empty, and an object was expected"
	}
	var any json.RawMessage
	d := json.NewDecoder(bytes.NewReader(data))
	err := d.Decode(&any)
	var bad *json.SyntaxError
	switch {
	case errors.As(err, &bad):
		return fmt.Sprintf("at byte %d there is %s", bad.Offset, strings.TrimPrefix(bad.Error(), "invalid character "))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("it ends after byte %d, where more was expected", len(data))
	case err != nil:
		return "it cannot be read"
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Sprintf("something follows the object, at byte %d", d.InputOffset())
	}
	return ""
}

// A decoding reads JSON that is one by its syntax, and notes what is wrong.
type decoding struct{ wrong []MemberFault }

func (d *decoding) fault(pointer, code, detail string) {
	if len(d.wrong) < maxFaults {
		d.wrong = append(d.wrong, MemberFault{Pointer: pointer, Code: code, Detail: detail})
	}
}

var ownReaders = []reflect.Type{reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()}

// readsItself reports whether a type reads its JSON by itself.
func readsItself(t reflect.Type) bool {
	return slices.ContainsFunc(ownReaders, func(own reflect.Type) bool { return t.Implements(own) || reflect.PointerTo(t).Implements(own) })
}

// value reads data into v. Structs are read here, that all their members are looked at;
// pointers to them and lists of them, too.
func (d *decoding) value(data []byte, v reflect.Value, pointer string) {
	data = bytes.TrimSpace(data)
	t := v.Type()
	switch {
	case readsItself(t):
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && string(data) != "null":
		v.Set(reflect.New(t.Elem()))
		d.value(data, v.Elem(), pointer)
		return
	case t.Kind() == reflect.Struct:
		d.object(data, v, pointer)
		return
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && len(data) > 0 && data[0] == '[':
		var items []json.RawMessage
		_ = json.Unmarshal(data, &items) // it is a list by its syntax
		v.Set(reflect.MakeSlice(t, len(items), len(items)))
		for i := range items {
			d.value(items[i], v.Index(i), pointer+"/"+strconv.Itoa(i))
		}
		return
	}
	if err := json.Unmarshal(data, v.Addr().Interface()); err != nil {
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &kind) && kind.Field == "":
			d.fault(pointer, memberWrongType, "want "+wanted(t)+", not a JSON "+kind.Value)
		case errors.As(err, &kind):
			d.fault(pointer, memberWrongType, "want "+wanted(kind.Type)+" in it, not a JSON "+kind.Value)
		default:
			d.fault(pointer, memberInvalid, err.Error())
		}
	}
}

// object reads the members of an object into the fields of a struct.
func (d *decoding) object(data []byte, v reflect.Value, pointer string) {
	if len(data) == 0 || data[0] != '{' {
		d.fault(pointer, memberWrongType, "want an object")
		return
	}
	names, fields := members(v)
	seen := map[string]bool{}
	in := json.NewDecoder(bytes.NewReader(data))
	_, _ = in.Token() // the brace
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return // no object by its syntax, which was looked at
		}
		name, _ := key.(string)
		var raw json.RawMessage
		if in.Decode(&raw) != nil {
			return
		}
		at := pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(clip(name, 64))
		field, known := fields[name]
		switch {
		case !known:
			d.fault(at, memberUnknown, "There are: "+strings.Join(names, ", "))
		case seen[name]:
			d.fault(at, memberTwice, "give it once")
		default:
			seen[name] = true
			d.value(raw, field, at)
		}
	}
}

// members are the fields of a struct by their names in JSON, those of embedded
// structs among them.
func members(v reflect.Value) (names []string, fields map[string]reflect.Value) {
	fields = map[string]reflect.Value{}
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			inner, its := members(v.Field(i))
			names = append(names, inner...)
			for n, field := range its {
				fields[n] = field
			}
			continue
		}
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		names = append(names, name)
		fields[name] = v.Field(i)
	}
	return names, fields
}

// wanted names what a member must be.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "an object"
}
