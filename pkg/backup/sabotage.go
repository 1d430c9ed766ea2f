//go:build sabotage

package backup

import "os"

// Sabotaged says whether this process is to go without the named protection: lock, limit, block or ladder. Only the chaos
// suite builds such processes, to see that it would notice.
func Sabotaged(protection string) bool { return os.Getenv("CONFHAUL_SABOTAGE") == protection }
