//go:build race

package pacetest

const race = true
