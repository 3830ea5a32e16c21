package sipflow

// Call is one third-party call, run by one goroutine.
type Call struct{ Spec }
