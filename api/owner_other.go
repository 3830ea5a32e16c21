//go:build !unix

package api

import "os"

func giveToOwner(*os.File, string) {}
