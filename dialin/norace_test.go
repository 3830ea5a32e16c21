//go:build !race

package dialin

const raceDetector = false
