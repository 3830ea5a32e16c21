package api

// eventStream is the media type of server-sent events.
const eventStream = "text/event-stream"

// streamTypes are how events are to be had; the first for who does not care.
var streamTypes = []string{"application/json", eventStream}
