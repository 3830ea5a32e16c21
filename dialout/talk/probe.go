package talk

import "context"

// Probed is what Probe found out about a Nextcloud at a signaling server.
type Probed struct {
	Server, Backend string // addresses
	Version         string // of the signaling server, if it said so
	Err             error  // what is wrong and what to do, nil if nothing is
}

// Probe tries each signaling server and Nextcloud of cfg as far as hello,
// without becoming a candidate for dial-outs.
func Probe(ctx context.Context, cfg Config) []Probed { return nil }
