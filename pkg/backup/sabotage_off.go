//go:build !sabotage

package backup

// Sabotaged is false: a protection can be switched off in a build for the chaos suite alone.
func Sabotaged(string) bool { return false }
