//go:build !unix

package datafile

import "os"

func GiveToOwner(*os.File, string) {}

// Writable is not known here.
func Writable(string) error { return nil }
