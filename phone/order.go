package phone

// EndCall ends a call on behalf of a client that is none of its two, and reports
// whether there is one.
func (s *Service) EndCall(text string) bool {
	id, ok := ParseID(text)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[id]
	if c == nil {
		return false
	}
	s.end(c, Ended, true)
	return true
}
