//go:build !unix

package main

// giveToService has nobody to give to: only the one who writes the files runs the service.
func giveToService(...string) (group string, err error) { return "", nil }
