package dialin

import (
	"context"
	"errors"
	"log/slog"

	"sipxrest/media"
	"sipxrest/media/attendant"
	"sipxrest/media/prompts"
	"sipxrest/talk"
	"sipxrest/talkroom"
)

// Needs are what a Service works with.
type Needs struct {
	Ports   *media.Ports
	Prompts *prompts.Set
	Rooms   *talkroom.Rooms
	// Ends is told what a call came to that was answered, before it is hung up. It may
	// be nil.
	Ends func(id string, o Outcome)
}

// New makes a Service. Connect is called before the first call. Its error is one
// *fault.Fault or more.
func New(cfg Config, n Needs, log *slog.Logger) (*Service, error) {
	s, err := newService(cfg, Parts{Clip: n.Prompts.Clip, Ends: n.Ends}, nil, log)
	if err != nil {
		return nil, err
	}
	s.parts.Open = func(clip func(string) []int16, silent func()) (Ears, error) {
		a, err := attendant.New(attendant.Config{Ports: n.Ports, Clip: clip, NoMedia: silent, Log: log})
		if err != nil {
			return nil, err
		}
		return ears{a}, nil
	}
	s.parts.Enter = func(session Session, token string, events func(talkroom.Event)) (Room, error) {
		r, err := n.Rooms.Enter(session.(*talk.Session), token, events) // Connect has no others
		if err != nil {
			return nil, err
		}
		return room{r}, nil
	}
	s.parts.Sessions = s.sessionsOf
	return s, nil
}

// Connect hands over the client of the signaling servers, which tells Handler. It is
// called once, before the first call.
func (s *Service) Connect(client *talk.Client) {
	for _, session := range client.Sessions() {
		b := session.Backend()
		known := -1
		for i, c := range s.clouds {
			if SameBackend(c.URL(), b.URL()) {
				known = i
			}
		}
		if known < 0 {
			s.clouds, s.sessions = append(s.clouds, b), append(s.sessions, nil)
			known = len(s.clouds) - 1
		}
		s.sessions[known] = append(s.sessions[known], session)
	}
}

// errNoSession says that a Nextcloud has no signaling server.
var errNoSession = errors.New("the Nextcloud has no signaling server")

// sessionsOf is Parts.Sessions: those by which phones can be heard now.
func (s *Service) sessionsOf(c Cloud) (list []Session, err error) {
	err = errNoSession
	for i := range s.clouds {
		if s.clouds[i] != c {
			continue
		}
		for _, session := range s.sessions[i] {
			if why := session.Audio(); why != nil {
				err = why
				continue
			}
			list = append(list, session)
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	return nil, err
}

// ears are an attendant whose sound goes to a conversation.
type ears struct{ *attendant.Attendant }

func (e ears) Start(names ...string) { e.Attendant.Start(names...) }
func (e ears) Release() Audio        { return e.Attendant.Release() }

func (e ears) Play(ctx context.Context, names ...string) error {
	return e.Attendant.Play(ctx, names...)
}

// room is a conversation with phones.
type room struct{ *talkroom.Room }

func (r room) AddPhone(callID string, audio Audio, o talkroom.PhoneOptions) Phone {
	return r.Room.AddPhone(callID, audio, o)
}
