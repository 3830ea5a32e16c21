// Package event tells once what happens to every call, whichever door it came by:
// as a stream of events without gaps, each with the call after it, as the history of
// ended calls, and as records of them (CDRs).
package event
