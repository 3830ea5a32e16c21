package talktest

// MCU is what the media of a lab's sessions go through, as Janus does behind the
// real signaling server. Its methods may wait for what it answers, and are called
// without Lab.mu. A trickle may be called from any goroutine, also before the
// method that was given it has returned.
type MCU interface {
	// Publish takes a session's offer. codec is what the session said beside it;
	// empty means Opus, and another one that the MCU does not know is an error.
	Publish(offer, codec string, trickle func(Candidate)) (p MCUPublisher, answer string, err error)
}

// MCUPublisher is what a session publishes. Once its MCU has gone, subscribing to
// it is an error for ever.
type MCUPublisher interface {
	// Lost reports whether the MCU has ended since.
	Lost() bool
	Candidate(Candidate) error
	// Subscribe makes the offer for somebody who wants to hear it.
	Subscribe(trickle func(Candidate)) (s MCUSubscriber, offer string, err error)
	Close()
}

// MCUSubscriber is somebody who hears a publisher.
type MCUSubscriber interface {
	Answer(sdp string) error
	Candidate(Candidate) error
	Close()
}

// Candidate is a way to reach one side's media (RTCIceCandidate).
type Candidate struct {
	SDPMid        string `json:"sdpMid"`
	SDPMLineIndex uint16 `json:"sdpMLineIndex"`
	Candidate     string `json:"candidate"`
}
