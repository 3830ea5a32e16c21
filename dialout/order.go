package dialout

import (
	"time"

	"sipxrest/sipflow"
)

// retryPlaces is when it is worth trying again while there are too many calls.
const retryPlaces = 5 * time.Second

// Number returns a number in its international form, for other resources that call by
// the gateway. The error is for people.
func (s *Service) Number(text string) (string, error) {
	number, why := parseNumber(text, s.cfg.Country)
	if why != nil {
		return "", why.plain()
	}
	return number, nil
}

// plain is a refusal in the words for people alone.
func (r *refusal) plain() error { return plainError(r.message) }

type plainError string

func (e plainError) Error() string { return string(e) }

// Caller returns a number of the gateway in the form in which a phone is shown it.
// False means that the gateway has no such number.
func (s *Service) Caller(number string) (string, bool) {
	mine := s.cfg.Gateway.DefaultNumber
	if mine == "" {
		return "", false
	}
	if number == mine {
		return mine, true
	}
	given, why := parseNumber(number, s.cfg.Country)
	if why != nil {
		return "", false
	}
	ours, why := parseNumber(mine, s.cfg.Country)
	return mine, why == nil && given == ours
}

// Dialling says how a number is reached: what a call of another resource has in
// sipflow.Spec.Dial.
func (s *Service) Dialling(number string) sipflow.Dialling {
	g := &s.cfg.Gateway
	return sipflow.Dialling{Gateway: g.URI, GatewayDomain: g.Domain, Realm: g.Realm,
		Credentials: sipflow.Credentials{Username: g.User, Password: g.Secret}, Number: number, Caller: g.DefaultNumber}
}

// Enter takes a place among the calls to telephones, for a call of another resource on
// behalf of an agent. It returns a *sipflow.LimitError or sipflow.ErrDraining. leave
// gives the place up.
func (s *Service) Enter(agent string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch l := &s.cfg.Limits; {
	case s.stopping:
		return nil, sipflow.ErrDraining
	case s.active+othersOf(s.cfg.All, "") >= l.Calls:
		return nil, &sipflow.LimitError{Limit: sipflow.LimitCalls, Most: l.Calls, Wait: retryPlaces}
	case s.users[agent]+othersOf(s.cfg.Users, agent) >= l.User:
		return nil, &sipflow.LimitError{Limit: sipflow.LimitCallsPerAgent, Most: l.User, Wait: retryPlaces}
	}
	s.counted(agent, true, 1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counted(agent, true, -1)
	}, nil
}

// EndCall hangs up a call that was accepted, on behalf of its agent, and reports
// whether there is one.
func (s *Service) EndCall(id string) bool {
	c := s.find(id)
	return c != nil && c.hangUpAs(errClient, false) // who asks has said who he is
}
