// Package pacetest paces tests: how much less a loop does under the race detector.
package pacetest

// Fewer is how often a test does what it does n times without the race detector: a tenth with it. It is for repetitions and
// sizes of what computes in one goroutine, where the race detector finds nothing and costs ten times the time.
func Fewer(n int) int {
	if race {
		return n / 10
	}
	return n
}
