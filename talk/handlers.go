package talk

// Handlers is one Handler for several users of a Client: each is told everything,
// in their order, and ignores what is not its own. A request to call a number is
// for the first that takes any.
func Handlers(list ...Handler) Handler {
	var h Handler
	for _, one := range list {
		if h.Dialout == nil {
			h.Dialout = one.Dialout
		}
	}
	h.Control = func(s *Session, c Control) {
		for _, one := range list {
			if one.Control != nil {
				one.Control(s, c)
			}
		}
	}
	h.Room = func(s *Session, e RoomEvent) {
		for _, one := range list {
			if one.Room != nil {
				one.Room(s, e)
			}
		}
	}
	h.Media = func(r *Room, m MediaMessage) {
		for _, one := range list {
			if one.Media != nil {
				one.Media(r, m)
			}
		}
	}
	h.Added = func(s *Session, callID string) {
		for _, one := range list {
			if one.Added != nil {
				one.Added(s, callID)
			}
		}
	}
	h.AddFailed = func(s *Session, callID string, err error) {
		for _, one := range list {
			if one.AddFailed != nil {
				one.AddFailed(s, callID, err)
			}
		}
	}
	h.InDoubt = func(s *Session, p Phone) {
		for _, one := range list {
			if one.InDoubt != nil {
				one.InDoubt(s, p)
			}
		}
	}
	h.Up = func(s *Session, hello Hello) {
		for _, one := range list {
			if one.Up != nil {
				one.Up(s, hello)
			}
		}
	}
	h.Again = func(s *Session, roomID string) {
		for _, one := range list {
			if one.Again != nil {
				one.Again(s, roomID)
			}
		}
	}
	h.Down = func(s *Session, err error) {
		for _, one := range list {
			if one.Down != nil {
				one.Down(s, err)
			}
		}
	}
	return h
}
