package talk

// FirstPause is how soon a lost connection is made again.
const FirstPause = firstPause

// Checksum is how messages are signed.
func Checksum(secret string, signed ...string) string { return checksum(secret, signed...) }
