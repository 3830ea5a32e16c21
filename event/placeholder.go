package event

// Bus stands here until the bus itself does, that those who use it can be compiled.
// Whoever brings the bus removes this file.
type Bus struct{}
