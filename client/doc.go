// Package client is the Go client of sipxrest's JSON interface, /v1. It needs nothing
// but the standard library.
//
// A [Client] places calls, controls them and reads what there is. [Client.Events] and
// [Client.CallEvents] follow what happens, across lost connections and restarts of the
// service, without an event that is missing or comes twice.
//
// A request that got no answer, 429 or 503 is sent again where that is safe. Requests
// that place or change calls carry an Idempotency-Key, so no phone rings twice. Waits
// are as long as the service asks for.
//
// What the service refuses is a [*Problem]. Compare codes by [errors.Is]:
//
//	if errors.Is(err, client.CodeCallInProgress) { … }
//
// Types are made from api/openapi.yaml. Its null is the zero value in Go: a time that
// is not known is zero, a number that is not known is a nil pointer.
package client

//go:generate go run ./typegen
