//go:build unix

package main

import (
	"os"
	"os/user"
	"strconv"
)

// giveToService lets the service's group read what root has written, and returns
// its name. Whoever is not root runs the service himself.
func giveToService(files ...string) (group string, err error) {
	if os.Geteuid() != 0 {
		return "", nil
	}
	g, err := user.LookupGroup(serviceGroup)
	if err != nil {
		return "", nil // the service is not installed
	}
	id, err := strconv.Atoi(g.Gid)
	if err != nil {
		return "", err
	}
	for _, name := range files {
		if err := os.Chown(name, -1, id); err != nil {
			return "", err
		}
		if err := os.Chmod(name, 0o640); err != nil {
			return "", err
		}
	}
	return serviceGroup, nil
}
