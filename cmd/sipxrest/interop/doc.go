// Package interop holds the tests of sipxrest against programs that others
// wrote: Kamailio, baresip, SIPp and curl. They run with `make interop` (build
// tag interop), never skip, and fail with the name of what is not installed.
package interop
