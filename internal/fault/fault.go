// Package fault is how a package says which key of its configuration is at fault,
// to whoever knows where that key was set.
package fault

// A Fault is a mistake in what an operator wrote.
type Fault struct {
	// Key is the key at fault, "sip.listen". Empty: Err says it, or its reader
	// knows.
	Key string
	// Line is the line of the file, from 1; 0: that of the key.
	Line int
	Err  error
	// Told says that Err's text names the key itself.
	Told bool
}

// Error says the key, if there is one, and what is wrong.
func (f *Fault) Error() string {
	if f.Key == "" || f.Told {
		return f.Err.Error()
	}
	return f.Key + ": " + f.Err.Error()
}

// Unwrap is the mistake without its place.
func (f *Fault) Unwrap() error { return f.Err }
