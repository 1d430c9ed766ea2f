// Package pacetest paces tests: how many of a package run at once, and how much less a loop does under the race detector.
package pacetest

import (
	"flag"
	"strconv"
)

// Fewer is how often a test does what it does n times without the race detector: a tenth with it. It is for repetitions and
// sizes of what computes in one goroutine, where the race detector finds nothing and costs ten times the time.
func Fewer(n int) int {
	if race {
		return n / 10
	}
	return n
}

// Together lets n tests of a package run at once where -parallel does not say how many, for a TestMain: tests that wait need
// no core each.
func Together(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err) // only a test binary may call this
	}
}
