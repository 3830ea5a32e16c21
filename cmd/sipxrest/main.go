// Command sipxrest is third-party call control over HTTP: a POST makes two
// phones call each other. See sipxrest --help.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], world{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
	}))
}
