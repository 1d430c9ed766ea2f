// Package telemetry lets people and machines see how a process does: its log, its metrics, its health, and the small HTTP
// server that shows them.
package telemetry

import (
	"io"
	"log/slog"
)

// NewLogger writes records of level and above to w: as text for the eyes at a terminal, as one JSON object a line otherwise.
// Durations read as 1.5s in both.
func NewLogger(w io.Writer, terminal bool, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}}
	if terminal {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}
