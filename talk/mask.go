package talk

// maskedEnd is how much of a token a log shows.
const maskedEnd = 3

// Masked is the token of a conversation as logs show it, by its end: who knows all of it
// may call in.
func Masked(token string) string {
	if len(token) <= 2*maskedEnd {
		return "…"
	}
	return "…" + token[len(token)-maskedEnd:]
}
