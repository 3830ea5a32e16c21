//go:build !unix

package phone

import "os"

func giveToOwner(*os.File, string) {}
