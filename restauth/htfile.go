package restauth

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// Files of Apache's htpasswd and htdigest are users with a PIN and nothing else.
// They are read here, for the reader of go-http-auth panics at a line that it
// cannot read, and bounds nothing; a test has both read the same files.

type htKind int

const (
	noHT     htKind = iota
	htpasswd        // user:hash
	htdigest        // user:realm:HA1
)

var (
	digestLine = regexp.MustCompile(`^[^:\s][^:]*:[^:]*:[0-9A-Fa-f]{32}$`)
	passwdLine = regexp.MustCompile(`^[^:\s"'{\[-][^:]*:(\$2[abxy]\$|\$apr1\$|\$1\$|\{SHA\})`)
)

// htKindOf tells such a file by its name, .htpasswd or .htdigest, or by its first
// line.
func htKindOf(name string, data []byte) htKind {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".htpasswd":
		return htpasswd
	case ".htdigest":
		return htdigest
	}
	for line := range strings.Lines(string(data[:min(len(data), 64<<10)])) {
		line = htLine(line)
		switch {
		case line == "":
			continue
		case digestLine.MatchString(line):
			return htdigest
		case passwdLine.MatchString(line):
			return htpasswd
		}
		break
	}
	return noHT
}

// htLine is a line without blanks around it; empty for a comment.
func htLine(line string) string {
	if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
		return ""
	}
	return line
}

// readHT reads such a file. Users of another realm are faults, not errors: one file
// may serve several programs.
func readHT(name string, data []byte, kind htKind, realm string) (entries []entry, faults []string, err error) {
	n, others := 0, map[string]int{}
	for line := range strings.Lines(string(data)) {
		n++
		if line = htLine(line); line == "" {
			continue
		}
		e := entry{where: fmt.Sprintf("%s:%d", name, n), strict: true, pinOnly: true}
		parts := strings.Split(line, ":")
		e.Name = parts[0]
		switch {
		case kind == htdigest && len(parts) == 3 && isHash(parts[2], 32):
			e.pin.md5 = strings.ToLower(parts[2])
			if parts[1] != realm {
				others[parts[1]]++
				continue
			}
		case kind == htdigest:
			err = errors.New("want user:realm:hash with 32 hex digits, as htdigest writes it")
		case len(parts) < 2:
			err = errors.New("want user:hash, as htpasswd writes it")
		default:
			e.pin.crypt = parts[1]
			err = checkCrypt(e.pin.crypt)
		}
		if err == nil {
			err = e.check()
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", e.where, err)
		}
		entries = append(entries, e)
	}
	for other, count := range others {
		faults = append(faults, fmt.Sprintf("%s: %d users of the realm %.80q are left out: ours is %q", name, count, other, realm))
	}
	return entries, faults, nil
}

// adopt gives the PINs of htpasswd and htdigest to the users whom other files have.
// What is left are users, each once.
func adopt(entries []entry) ([]entry, error) {
	full := map[string]int{}
	pins := false
	for i := range entries {
		if pins = pins || entries[i].pinOnly; !entries[i].pinOnly {
			full[entries[i].Name] = i
		}
	}
	if !pins {
		return entries, nil
	}
	for i := range entries {
		e := &entries[i]
		if !e.pinOnly {
			continue
		}
		at, known := full[e.Name]
		switch {
		case !known:
			full[e.Name] = i
		case entries[at].HasPIN():
			return nil, fmt.Errorf("%s: user %q has a PIN already (%s): remove one of them", e.where, e.Name, entries[at].where)
		default:
			entries[at].pin = e.pin
			e.Name = "" // done
		}
	}
	left := entries[:0]
	for _, e := range entries {
		if e.Name != "" {
			left = append(left, e)
		}
	}
	return left, nil
}
