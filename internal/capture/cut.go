package capture

import (
	"bytes"
	"regexp"
)

// What is cut out: answers to challenges (RFC 3261 §22.4) with their client nonces,
// other credentials, PINs of conferences and bodies with digits, which may be of a PIN
// (draft-kaplan-dispatch-info-dtmf-package, and what vendors do), and keys of SRTP (RFC
// 4568 §9.1).
var (
	credentials = regexp.MustCompile(`(?im)^((?:proxy-)?authorization[ \t]*:[ \t]*)([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)`)
	digest      = regexp.MustCompile(`(?i)\b(response|cnonce)([ \t]*=[ \t]*)("[^"]*"|[^,\s]*)`)
	isDigest    = regexp.MustCompile(`(?i)^digest\b`)
	confPIN     = regexp.MustCompile(`(?im)(X-ConfPin(?:[ \t]*:[ \t]*|=|%3D))([^\r\n&>;"]*)`)
	signal      = regexp.MustCompile(`(?im)^([^\w\r\n]*Signal[^\w\r\n=]*=)[^\r\n]*`)
	keys        = regexp.MustCompile(`(?im)(\binline:)[A-Za-z0-9+/=]+`)
	plainDTMF   = regexp.MustCompile(`(?im)^(?:content-type|c)[ \t]*:\s*application/dtmf\s*(?:;.*)?\r?$`)
)

// mark stands where something was cut out.
const mark = "***"

// cutSecrets returns a copy of a message without its secrets.
func cutSecrets(data []byte) []byte {
	head, body, hasBody := bytes.Cut(data, []byte("\r\n\r\n"))
	head = bytes.Clone(head)
	if containsFold(head, "authorization") {
		head = credentials.ReplaceAllFunc(head, func(field []byte) []byte {
			parts := credentials.FindSubmatch(field)
			if !isDigest.Match(parts[2]) {
				return append(bytes.Clone(parts[1]), mark...)
			}
			return digest.ReplaceAll(field, []byte(`${1}${2}"`+mark+`"`))
		})
	}
	if containsFold(head, "x-confpin") {
		head = confPIN.ReplaceAll(head, []byte("${1}"+mark))
	}
	if !hasBody {
		return head
	}
	head = append(head, "\r\n\r\n"...)
	switch {
	case len(body) == 0:
	case plainDTMF.Match(head):
		return append(head, mark...)
	default:
		if containsFold(body, "signal") {
			body = signal.ReplaceAll(body, []byte("${1}"+mark))
		}
		if containsFold(body, "inline:") {
			body = keys.ReplaceAll(body, []byte("${1}"+mark))
		}
	}
	return append(head, body...)
}

// containsFold reports whether b has an ASCII word in any case.
func containsFold(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		j := 0
		for j < len(word) && b[i+j]|0x20 == word[j]|0x20 {
			j++
		}
		if j == len(word) {
			return true
		}
	}
	return false
}
