package api

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"sipxrest/event"
	"sipxrest/internal/capture"
)

// The forms in which a call's messages are to be had; the first for who does not care.
var messageTypes = []string{"application/json", "text/plain", "application/vnd.tcpdump.pcap"}

// messageForms are the values of format, in the order of messageTypes.
var messageForms = []string{"json", "text", "pcap"}

// messagePage is the answer to GET /v1/calls/{id}/messages.
type messagePage struct {
	Object  string       `json:"object"` // "list"
	Data    []sipMessage `json:"data"`
	Dropped int          `json:"dropped"` // messages that were more than is kept of one leg
}

// sipMessage is one SIP message. Secrets in it are cut out.
type sipMessage struct {
	At        event.Time `json:"at"`
	Direction string     `json:"direction"`     // "in", "out"
	Leg       string     `json:"leg,omitempty"` // of the call; empty where it is known of none
	Transport string     `json:"transport"`
	Local     string     `json:"local"`
	Remote    string     `json:"remote"`
	StartLine string     `json:"start_line"`
	CSeq      string     `json:"cseq"`
	SDP       bool       `json:"sdp"` // it has a session description
	Message   string     `json:"message"`
	Cut       bool       `json:"cut,omitempty"` // there was more
}

// callMessages answers GET /v1/calls/{id}/messages.
func (a *API) callMessages(w http.ResponseWriter, r *request) *Problem {
	form := r.query.Get("format")
	if form == "" {
		form = messageForms[max(0, slices.Index(messageTypes, preferred(r.Header, messageTypes)))]
	}
	id := r.vars("id")
	c, ok := a.bus.Call(id)
	if !ok || a.Access(r.who, c) == NoAccess {
		return a.noCall()
	}
	if a.cfg.Messages == nil {
		return about(refuse(NotTraced, capture.Off), id)
	}
	list, dropped := a.cfg.Messages.Of(id)
	if len(list) == 0 {
		return about(refuse(NotTraced, a.cfg.Messages.Mode()), id)
	}
	var b bytes.Buffer
	var err error
	kind, name := messageTypes[1], id+".txt"
	switch form {
	case "json":
		return send(w, http.StatusOK, pageOf(c, list, dropped))
	case "text":
		err = capture.WriteText(&b, list)
		kind += "; charset=utf-8"
	case "pcap":
		kind, name = messageTypes[2], id+".pcap"
		err = capture.WritePcap(&b, list)
	default:
		return wrongParam("format", memberInvalid, "it is one of "+strings.Join(messageForms, ", "))
	}
	if err != nil {
		r.log.Warn("messages of a call cannot be written", "call", id, "error", err)
		return refuse(InternalError)
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(b.Bytes()) // nobody is left to be told
	return nil
}

// pageOf lists messages, each with the leg whose Call-ID it has.
func pageOf(c *event.Call, list []capture.Message, dropped int) messagePage {
	p := messagePage{Object: "list", Data: make([]sipMessage, 0, len(list)), Dropped: dropped}
	for i := range list {
		m := &list[i]
		out := sipMessage{At: event.At(m.At), Direction: "in", Leg: legOfCallID(c, m.CallID), Transport: m.Transport, Local: m.Local,
			Remote: m.Remote.String(), CSeq: capture.Field(m.Text, "CSeq"), Message: strings.ToValidUTF8(string(m.Text), "\uFFFD"), Cut: m.Cut}
		if m.Out {
			out.Direction = "out"
		}
		line, _, _ := strings.Cut(out.Message, "\n")
		out.StartLine = strings.TrimRight(line, "\r")
		out.SDP = strings.HasPrefix(strings.ToLower(capture.Field(m.Text, "Content-Type")), "application/sdp")
		p.Data = append(p.Data, out)
	}
	return p
}

// legOfCallID is the id of the leg with a SIP Call-ID.
func legOfCallID(c *event.Call, callID string) string {
	for i := range c.Legs {
		if s := c.Legs[i].SIP; s != nil && s.CallID == callID {
			return c.Legs[i].ID
		}
	}
	return ""
}
