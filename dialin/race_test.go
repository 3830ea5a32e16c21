//go:build race

package dialin

const raceDetector = true
