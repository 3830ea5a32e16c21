// Command typegen writes the Go types of package client out of api/openapi.yaml.
// It runs in client by go generate.
package main

import (
	"fmt"
	"os"
)

func main() {
	source, err := os.ReadFile("../api/openapi.yaml")
	if err == nil {
		var text []byte
		if text, err = Generate(source); err == nil {
			err = os.WriteFile("types.go", text, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "typegen:", err)
		os.Exit(1)
	}
}
