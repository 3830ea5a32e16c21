package main

import (
	"fmt"

	"sipxrest/cmd/sipxrest/app"
)

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(w world) error {
	_, err := fmt.Fprintln(w.stdout, app.Version())
	return err
}
