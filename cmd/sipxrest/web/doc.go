// Package web is the service's side of HTTP: listeners that bound what strangers
// can take of it, TLS and its certificates, HTTP/1 and HTTP/2 on one port, and
// answers for requests that net/http refuses without a word.
//
// It knows no resource. Routes tell it which requests are whose, whether they have
// a body that is used, and how a resource words a fault.
package web
