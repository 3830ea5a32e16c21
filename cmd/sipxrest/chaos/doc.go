// Package chaos holds the tests of the whole service over a network that
// loses, repeats and reorders: HTTP in front, real UDP sockets behind, a
// thousand calls between scripted phones. They take real time, so they run with
// `make interop` (build tag interop) though they need no other program.
package chaos
