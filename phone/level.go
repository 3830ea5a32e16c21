package phone

import (
	"fmt"
	"slices"
	"strings"
)

// Levels are the access levels from the least to the most, as clients know
// them. Users are made with "verified".
var Levels = []string{"unverified", "banned", "quarantined", "verified", "client", "moderator", "twitarrteam", "tho", "admin"}

// DefaultLevel is the access level of new users, and the least that may call
// unless the configuration says otherwise.
const DefaultLevel = "verified"

// CheckLevel says what is wrong with the name of an access level.
func CheckLevel(name string) error {
	if slices.Contains(Levels, name) {
		return nil
	}
	return fmt.Errorf("%q is no access level: write %s", name, strings.Join(Levels, ", "))
}

// reaches reports whether an access level is least or more.
func reaches(level, least string) bool {
	return slices.Index(Levels, level) >= slices.Index(Levels, least)
}
