package talktest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// hello begins or resumes a session.
func (k *link) hello(m *message) {
	l := k.lab
	if m.Hello.ResumeID != "" {
		l.mu.Lock()
		s := l.resumes[m.Hello.ResumeID]
		if s == nil {
			l.mu.Unlock()
			k.error(m.ID, "no_such_session", "The session to resume does not exist.")
			return
		}
		old := s.link
		s.stop()
		s.link, k.session = k, s
		k.welcome(m.ID, s)
		listed := false
		for _, data := range s.waiting {
			k.sendRaw(data)
			listed = listed || bytes.Contains(data, []byte(`"users":[`))
		}
		s.waiting = nil
		if s.room != nil && !listed {
			s.deliver(s.room.list())
		}
		l.note("")
		l.mu.Unlock()
		if old != nil {
			old.bye("session_resumed")
		}
		return
	}
	if m.Hello.Auth.Type != "internal" && m.Hello.Auth.URL != "" {
		k.helloWeb(m)
		return
	}
	cloud, code := k.check(m)
	if code != "" {
		l.mu.Lock()
		delay := time.Duration(0)
		if code != "too_many_requests" && code != "invalid_format" && code != "invalid_hello_version" {
			delay = min(100*time.Millisecond<<len(l.wrong), 25*time.Second)
			l.wrong = append(l.wrong, time.Now())
		} else if code == "too_many_requests" {
			l.fault(TooManyHellos, "%d were refused in half an hour", len(l.wrong))
		}
		l.mu.Unlock()
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-k.ctx.Done():
			return
		}
		k.error(m.ID, code, map[string]string{"invalid_token": "The passed token is invalid.", "invalid_backend": "The backend URL is not supported.",
			"too_many_requests": "Too many requests."}[code])
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &session{lab: l, id: l.next("S"), resume: l.next("R"), cloud: cloud, features: m.Hello.Features, link: k, phones: map[string]*session{}}
	s.dialout = slices.Contains(s.features, "start-dialout")
	k.session = s
	l.sessions[s.id], l.resumes[s.resume] = s, s
	l.bridges = append(l.bridges, s)
	k.welcome(m.ID, s)
	l.note("")
}

func (k *link) welcome(id string, s *session) {
	k.send(object{"id": id, "type": "hello", "hello": object{"version": "1.0", "sessionid": s.id, "resumeid": s.resume, "userid": "",
		"server": object{"version": "2.1.1~lab", "features": k.lab.Features}}})
}

// check says which Nextcloud a hello is for, or what is wrong with it.
func (k *link) check(m *message) (*Cloud, string) {
	l := k.lab
	p := m.Hello.Auth.Params
	l.mu.Lock()
	k.greeted = true
	l.wrong = slices.DeleteFunc(l.wrong, func(at time.Time) bool { return time.Since(at) > wrongTime })
	wrong := len(l.wrong)
	l.mu.Unlock()
	switch {
	case m.Hello.Version != "1.0" && m.Hello.Version != "2.0":
		return nil, "invalid_hello_version"
	case m.Hello.Auth.Type != "internal" || p.Backend == "":
		return nil, "invalid_format"
	case wrong >= maxWrong:
		return nil, "too_many_requests"
	case len(p.Random) < 32 || p.Token != sign(Secret, p.Random):
		return nil, "invalid_token"
	}
	for _, c := range l.clouds {
		if strings.HasPrefix(strings.TrimSuffix(p.Backend, "/")+"/", c.URL) {
			return c, ""
		}
	}
	return nil, "invalid_backend"
}

func sign(secret, signed string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return hex.EncodeToString(mac.Sum(nil))
}
