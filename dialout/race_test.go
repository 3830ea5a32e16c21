//go:build race

package dialout

const raceDetector = true
