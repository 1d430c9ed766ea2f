//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package embedded

func alive(int) bool { return true }
