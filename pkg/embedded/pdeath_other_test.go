//go:build unix && !linux

package embedded

const diesWithParent = false
