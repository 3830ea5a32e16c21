//go:build !race

package mix_test

const raceDetector = false
