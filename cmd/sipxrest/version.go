package main

import (
	"fmt"

	"sipxrest/cmd/sipxrest/version"
)

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(w world) error {
	_, err := fmt.Fprintln(w.stdout, version.String())
	return err
}
