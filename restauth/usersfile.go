package restauth

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/limit"
	"sipxrest/internal/setting"
	"sipxrest/schema"
)

// maxNameLen bounds a user name and an alias, in bytes.
const maxNameLen = 256

// isXML tells validusers.xml from users.yaml.
func isXML(name string, data []byte) bool {
	data = bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
	if len(data) > 0 {
		return data[0] == '<'
	}
	return strings.EqualFold(filepath.Ext(name), ".xml")
}

// readXML reads the validusers.xml of a sipXecs installation. Names that are
// given twice and users that cannot be called are faults, not errors: sipXecs
// wrote the file and worked with it.
func readXML(name string, data []byte) (entries []entry, faults []string, err error) {
	read, err := schema.ReadValidUsers(bytes.NewReader(data))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	entries = make([]entry, 0, len(read))
	for i, v := range read {
		e := entry{where: fmt.Sprintf("%s user %d", name, i+1)}
		e.Name, e.Identity, e.DisplayName, e.Aliases = v.UserName, v.Identity, v.DisplayName, v.Aliases
		// A clear PIN and a hash stand in the same element: what looks like a
		// hash is one (release 4.2), else it is the PIN (later releases).
		if isHash(v.PINToken, 32) {
			e.pin.md5 = strings.ToLower(v.PINToken)
		} else {
			e.pin.clear = v.PINToken
		}
		if isHash(v.PassToken, 32) {
			e.SIPHA1 = strings.ToLower(v.PassToken)
		} else {
			e.SIPPassword = v.PassToken
		}
		if err := e.check(); err != nil {
			faults = append(faults, e.where+": left out: "+err.Error())
			continue
		}
		entries = append(entries, e)
	}
	return entries, faults, nil
}

// yamlKeys are the keys of a user in users.yaml.
var yamlKeys = []string{
	"user", "name", "aliases", "identity", "pin", "pin-hash", "pin-hash-sha256", "pin-bcrypt",
	"sip-password", "ha1", "ha1-sha256", "policy",
}

// readYAML reads a users.yaml: a list of users. It walks the nodes itself,
// because errors must name the line and an unknown key the right one.
func readYAML(name string, data []byte, checkPolicy func(string) error) ([]entry, error) {
	if len(data) > maxYAML {
		return nil, fmt.Errorf("users: %w", advised(fmt.Errorf("%s is %w: it has more than %d MiB, and no more is read of users in YAML", name, limit.ErrTooLarge, maxYAML>>20)))
	}
	list, err := setting.Document(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if list == nil {
		return nil, nil
	}
	if list.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf(`%s:%d: want a list of users: - {user: "201", pin: "…"}`, name, list.Line)
	}
	entries := make([]entry, 0, len(list.Content))
	for i, node := range list.Content {
		e, line, err := yamlUser(node)
		if err == nil && e.Policy != "" && checkPolicy != nil {
			if err = checkPolicy(e.Policy); err != nil {
				line, err = node.Line, fmt.Errorf("policy: %w", err)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		e.where, e.strict = fmt.Sprintf("%s:%d", name, node.Line), true
		entries = append(entries, e)
		list.Content[i] = nil // the nodes are ten times the size of the user
	}
	return entries, nil
}

// CheckUsers reports what is wrong with the text of a users.yaml that is not written
// yet. Its error names the key, and never holds a PIN or a password.
func CheckUsers(data []byte) error {
	const name = "text"
	_, err := readYAML(name, data, nil)
	if err == nil {
		return nil
	}
	_, fault, _ := strings.Cut(strings.TrimPrefix(err.Error(), name+":"), ": ")
	return errors.New(fault)
}

// yamlUser reads one user. Errors come with their line.
func yamlUser(node *yaml.Node) (e entry, line int, err error) {
	if node.Kind != yaml.MappingNode {
		return e, node.Line, errors.New(`want a user: {user: "201", pin: "…"}`)
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		for j := 0; j < i; j += 2 {
			if node.Content[j].Value == key.Value {
				return e, key.Line, fmt.Errorf("%.40s: given twice", key.Value)
			}
		}
		if key.Value == "aliases" {
			if e.Aliases, line, err = yamlAliases(value); err != nil {
				return e, line, err
			}
			continue
		}
		field := e.field(key.Value)
		if field == nil {
			return e, key.Line, unknownKey(key.Value)
		}
		if value.Kind != yaml.ScalarNode {
			return e, value.Line, fmt.Errorf("%s: want a text", key.Value)
		}
		if value.Anchor != "" || strings.HasPrefix(value.Tag, "!") && !strings.HasPrefix(value.Tag, "!!") {
			return e, value.Line, fmt.Errorf("%s: put the text in quotes: to YAML an & or ! in front is not part of it", key.Value)
		}
		if isNull(value) {
			continue
		}
		*field = value.Value
		if digits := hashLen(key.Value); digits != 0 && *field != "" {
			if !isHash(*field, digits) {
				return e, value.Line, fmt.Errorf("%s: want %d hex digits, the hash of user:realm:secret", key.Value, digits)
			}
			*field = strings.ToLower(*field)
		}
		if key.Value == "pin-bcrypt" && *field != "" {
			if err := checkBcrypt(*field); err != nil {
				return e, value.Line, fmt.Errorf("%s: %w", key.Value, err)
			}
		}
	}
	if err := e.check(); err != nil {
		return e, node.Line, err
	}
	return e, 0, nil
}

// field is where the value of key belongs; nil for an unknown one.
func (e *entry) field(key string) *string {
	switch key {
	case "user":
		return &e.Name
	case "name":
		return &e.DisplayName
	case "identity":
		return &e.Identity
	case "pin":
		return &e.pin.clear
	case "pin-hash":
		return &e.pin.md5
	case "pin-hash-sha256":
		return &e.pin.sha256
	case "pin-bcrypt":
		return &e.pin.crypt
	case "sip-password":
		return &e.SIPPassword
	case "ha1":
		return &e.SIPHA1
	case "ha1-sha256":
		return &e.SIPHA1SHA256
	case "policy":
		return &e.Policy
	}
	return nil
}

// hashLen is the number of hex digits that key takes; 0 for any text.
func hashLen(key string) int {
	switch key {
	case "pin-hash", "ha1":
		return 32
	case "pin-hash-sha256", "ha1-sha256":
		return 64
	}
	return 0
}

// check says what would not be a user of a SIP domain.
func (e *entry) check() error {
	if e.Name == "" {
		return errors.New(`user: missing: give the user name, user: "201"`)
	}
	for _, name := range append([]string{e.Name}, e.Aliases...) {
		if err := checkName(name); err != nil {
			return err
		}
	}
	if strings.Contains(e.Name, "@") {
		return fmt.Errorf("user: %.40q has a domain: give the user name here and the address in identity", e.Name)
	}
	e.Identity = strings.TrimPrefix(e.Identity, "sip:")
	if e.Identity != "" {
		user, host, _ := strings.Cut(e.Identity, "@")
		if user == "" || host == "" || strings.ContainsAny(e.Identity, "<> \t\";?") || !printable(e.Identity) {
			return fmt.Errorf("identity: %.40q: want user@domain", e.Identity)
		}
	}
	if !printable(e.DisplayName) {
		return errors.New("name: has control characters or is not UTF-8")
	}
	if !printable(e.pin.clear) {
		return errors.New("pin: has control characters or is not UTF-8")
	}
	if e.pin.clear != "" && e.pin.md5+e.pin.sha256 != "" {
		return errors.New("pin: give either pin or its hashes pin-hash and pin-hash-sha256")
	}
	if e.pin.clear != "" && e.pin.crypt != "" {
		return errors.New("pin: give either pin or its hash pin-bcrypt")
	}
	return nil
}

func checkName(name string) error {
	// A colon would end the name within a Basic header (RFC 7617 §2).
	if len(name) > maxNameLen || strings.ContainsAny(name, ":\"<> \t") || !printable(name) {
		return fmt.Errorf("user or aliases: %.40q is not a user name", name)
	}
	return nil
}

func yamlAliases(node *yaml.Node) (aliases []string, line int, err error) {
	if isNull(node) {
		return nil, 0, nil
	}
	if node.Kind != yaml.SequenceNode {
		return nil, node.Line, errors.New("aliases: want a list: [bob, robert]")
	}
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode || isNull(item) || item.Value == "" {
			return nil, item.Line, errors.New("aliases: want names: [bob, robert]")
		}
		aliases = append(aliases, item.Value)
	}
	return aliases, 0, nil
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Tag == "!!null"
}

// unknownKey is the error for a key that is no key of a user; it names the
// one that was probably meant.
func unknownKey(key string) error {
	best := setting.Nearest(key, yamlKeys)
	if best == "" {
		return fmt.Errorf("unknown key %.40q: the keys are %s", key, strings.Join(yamlKeys, ", "))
	}
	return fmt.Errorf("unknown key %.40q: did you mean %s?", key, best)
}

func isHash(text string, digits int) bool {
	if len(text) != digits {
		return false
	}
	_, err := hex.DecodeString(text)
	return err == nil
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}
