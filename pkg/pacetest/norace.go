//go:build !race

package pacetest

const race = false
