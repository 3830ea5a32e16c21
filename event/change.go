package event

import "encoding/json"

// plainChange is a Change without its methods.
type plainChange Change

// MarshalJSON writes the state and the end of a leg, or those of the call.
func (c *Change) MarshalJSON() ([]byte, error) {
	w := struct {
		State string `json:"state,omitempty"`
		*plainChange
		End any `json:"end,omitempty"`
	}{State: string(c.State), plainChange: (*plainChange)(c)}
	if w.State == "" {
		w.State = string(c.LegState)
	}
	switch {
	case c.End != nil:
		w.End = c.End
	case c.LegEnd != nil:
		w.End = c.LegEnd
	}
	return json.Marshal(&w)
}

// UnmarshalJSON reads what MarshalJSON wrote. Which of both states is meant is known
// by the type of the event alone, so both are set.
func (c *Change) UnmarshalJSON(b []byte) error {
	w := struct {
		State string `json:"state"`
		*plainChange
		End *End `json:"end"`
	}{plainChange: (*plainChange)(c)}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	c.State, c.LegState = State(w.State), LegState(w.State)
	switch {
	case w.End == nil:
	case w.End.Outcome != "":
		c.End = w.End
	default:
		c.LegEnd = &LegEnd{By: w.End.By, Reason: w.End.Reason, SIP: w.End.SIP, Q850: w.End.Q850}
	}
	return nil
}
