package siptest

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
)

// Ladder renders every SIP message so far, one a line, in the order in which
// they were sent:
//
//	+0.000 sipxrest → 201       INVITE sip:201@10.0.0.2:5060 (call 1, 1 INVITE) sdp
//	+0.001 201      → sipxrest  180 Ringing (call 1, 1 INVITE)
//
// Seconds count from the first message. Names are those of [Network.Name] and
// of the phones. Call-IDs are numbered, To-tags of responses lettered as they
// first appear, and other random parts are left out, so that the same flow
// gives the same text. "again" marks a message that was sent before, "lost" one
// that never arrived, "copy" one that the network duplicated.
func (n *Network) Ladder() string {
	packets := n.Packets()
	slices.SortStableFunc(packets, func(a, b Packet) int {
		return cmp.Or(a.Sent.Compare(b.Sent), cmp.Compare(a.From.String(), b.From.String()))
	})
	l := ladder{calls: map[string]int{}, tags: map[string]string{}, seen: map[string]bool{}}
	l.forks(packets)
	type line struct{ at, from, to, text string }
	var lines []line
	width := 0
	n.mu.Lock()
	notes := slices.Clone(n.notes)
	n.mu.Unlock()
	noted := func(before time.Time) {
		for len(notes) > 0 && (before.IsZero() || notes[0].at.Before(before)) {
			lines = append(lines, line{at: fmt.Sprintf("+%.3f", notes[0].at.Sub(packets[0].Sent).Seconds()), text: notes[0].text})
			notes = notes[1:]
		}
	}
	for _, p := range packets {
		noted(p.Sent)
		text, ok := l.describe(p)
		if !ok {
			continue
		}
		ln := line{from: n.nameOf(p, true), to: n.nameOf(p, false), text: text}
		ln.at = fmt.Sprintf("+%.3f", p.Sent.Sub(packets[0].Sent).Seconds())
		lines = append(lines, ln)
		width = max(width, utf8.RuneCountInString(ln.from), utf8.RuneCountInString(ln.to))
	}
	if len(packets) > 0 {
		noted(time.Time{})
	}
	var b strings.Builder
	for _, ln := range lines {
		if ln.from == "" {
			fmt.Fprintf(&b, "%-8s %s\n", ln.at, ln.text)
			continue
		}
		fmt.Fprintf(&b, "%-8s %-*s → %-*s  %s\n", ln.at, width, ln.from, width, ln.to, ln.text)
	}
	return b.String()
}

// nameOf is the name of a packet's sender or receiver: of its address, else of
// another address with the same IP (the ports of TCP connections have none),
// else the address.
func (n *Network) nameOf(p Packet, sender bool) string {
	a := p.To
	if sender {
		a = p.From
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if name, ok := n.names[a]; ok {
		return name
	}
	var names []string
	for b, name := range n.names {
		if a.Addr() == b.Addr() {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return slices.Min(names)
	}
	return a.String()
}

type ladder struct {
	calls map[string]int    // Call-ID → number
	tags  map[string]string // To-tag of a forked INVITE → letter
	seen  map[string]bool   // from, to and bytes of a message
}

// shown are the header fields that a reader of a ladder looks for.
var shown = []string{"Refer-To", "Referred-By", "Replaces", "Subject", "Event", "Subscription-State", "Reason", "Retry-After"}

func (l *ladder) describe(p Packet) (string, bool) {
	m, err := parse(p.Data)
	if err != nil {
		if p.Transport == "UDP" {
			return fmt.Sprintf("%d bytes that are not SIP", len(p.Data)), true
		}
		return "", false
	}
	id := m.CallID().Value()
	if l.calls[id] == 0 {
		l.calls[id] = len(l.calls) + 1
	}
	var b strings.Builder
	switch m := m.(type) {
	case *sip.Request:
		fmt.Fprintf(&b, "%s %s", m.Method, m.Recipient.String())
		if m.GetHeader("Authorization") != nil || m.GetHeader("Proxy-Authorization") != nil {
			b.WriteString(" with credentials")
		}
	case *sip.Response:
		fmt.Fprintf(&b, "%d %s", m.StatusCode, m.Reason)
	}
	fmt.Fprintf(&b, " (call %d, %d %s)", l.calls[id], m.CSeq().SeqNo, m.CSeq().MethodName)
	if letter := l.tags[id+toTag(m)]; letter != "" {
		b.WriteString(" to-tag " + letter)
	}
	if res, ok := m.(*sip.Response); ok && res.StatusCode > 100 && toTag(res) == "" {
		b.WriteString(" without to-tag")
	}
	for _, name := range shown {
		for _, h := range m.GetHeaders(name) {
			value := h.Value()
			switch name {
			case "Replaces":
				value = l.dialog(value)
			case "Refer-To":
				if before, rest, ok := strings.Cut(value, "?Replaces="); ok {
					end := strings.IndexAny(rest+">", "&>")
					value = before + "?Replaces=" + l.dialog(rest[:end]) + rest[end:]
				}
			}
			fmt.Fprintf(&b, " %s: %s", name, value)
		}
	}
	l.body(&b, m)
	key := p.From.String() + p.To.String() + string(p.Data)
	switch {
	case p.Copy:
		b.WriteString(" [copy]")
	case l.seen[key]:
		b.WriteString(" [again]")
	}
	if p.Lost {
		b.WriteString(" [lost]")
	}
	if p.Transport != "UDP" {
		b.WriteString(" [" + p.Transport + "]")
	}
	l.seen[key] = true
	return b.String(), true
}

// dialog names the call whose dialog a Replaces is about.
func (l *ladder) dialog(replaces string) string {
	text, err := url.PathUnescape(replaces)
	if err != nil {
		return replaces
	}
	id, _, _ := strings.Cut(text, ";")
	if l.calls[id] == 0 {
		return replaces
	}
	return fmt.Sprintf("call %d", l.calls[id])
}

func (l *ladder) body(b *strings.Builder, m sip.Message) {
	kind := strings.ToLower(headerOf(m, "Content-Type"))
	switch body := m.Body(); {
	case len(body) == 0:
	case strings.HasPrefix(kind, "application/sdp"):
		b.WriteString(" sdp")
	case strings.HasPrefix(kind, "message/sipfrag"):
		line, _, _ := strings.Cut(string(body), "\r\n")
		fmt.Fprintf(b, " %q", line)
	default:
		fmt.Fprintf(b, " %d bytes of %s", len(body), kind)
	}
}

// forks letters the tags of the dialogs that one INVITE made, if there are several.
func (l *ladder) forks(packets []Packet) {
	tags := map[string][]string{} // of an INVITE
	var order []string
	for _, p := range packets {
		m, err := parse(p.Data)
		res, ok := m.(*sip.Response)
		if err != nil || !ok || res.CSeq().MethodName != sip.INVITE || res.StatusCode <= 100 || res.StatusCode >= 300 {
			continue
		}
		id := res.CallID().Value()
		key := fmt.Sprint(id, res.CSeq().SeqNo)
		if tag := id + toTag(res); !slices.Contains(tags[key], tag) {
			tags[key] = append(tags[key], tag)
			if len(tags[key]) == 1 {
				order = append(order, key)
			}
		}
	}
	for _, key := range order {
		if len(tags[key]) < 2 {
			continue
		}
		for _, tag := range tags[key] {
			if n := len(l.tags); l.tags[tag] == "" {
				l.tags[tag] = string(rune('a' + n%26))
			}
		}
	}
}
