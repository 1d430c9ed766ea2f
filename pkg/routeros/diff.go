package routeros

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Unified is the difference of two texts in the unified form, with context equal lines around each change; "" where they are
// equal. It shows secrets; UnifiedRedacted does not. The time is n log n in the lines of both texts, whatever they hold, and
// the result is at most about as long as both together. Where lines repeat, it can name more of them than a shortest
// difference would.
func Unified(old, new []byte, oldName, newName string, context int) string {
	a, b := splitLines(old), splitLines(new)
	return unified(a, b, blocks(align(a, b), len(a), len(b)), oldName, newName, context)
}

// Stat is the number of lines that Unified shows as added and as removed.
func Stat(old, new []byte) (added, removed int) {
	a, b := splitLines(old), splitLines(new)
	same := len(align(a, b))
	return len(b) - same, len(a) - same
}

// splitLines takes text apart into its lines, each with its line end.
func splitLines(text []byte) [][]byte {
	return slices.AppendSeq(make([][]byte, 0, bytes.Count(text, []byte("\n"))+1), bytes.Lines(text))
}

// block is where two texts differ: the lines [old, oldEnd) of the one stand in the place of [new, newEnd) of the other.
type block struct{ old, oldEnd, new, newEnd int }

// blocks is what lies between pairs in texts of so many lines.
func blocks(pairs []pair, oldLines, newLines int) []block {
	var out []block
	last := pair{-1, -1}
	for _, p := range append(slices.Clip(pairs), pair{oldLines, newLines}) {
		if b := (block{last.old + 1, p.old, last.new + 1, p.new}); b.old < b.oldEnd || b.new < b.newEnd {
			out = append(out, b)
		}
		last = p
	}
	return out
}

// unified writes the blocks; old and new may be other lines than those that were compared.
func unified(old, new [][]byte, all []block, oldName, newName string, context int) string {
	if len(all) == 0 {
		return ""
	}
	context = max(context, 0)
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", oldName, newName)
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].old-all[n-1].oldEnd <= 2*context {
			n++
		}
		writeHunk(&out, old, new, all[:n], context)
		all = all[n:]
	}
	return out.String()
}

// writeHunk writes blocks that are near each other.
func writeHunk(out *strings.Builder, old, new [][]byte, near []block, context int) {
	first, last := near[0], near[len(near)-1]
	before := min(context, first.old)
	after := min(context, len(old)-last.oldEnd)
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(first.old-before, last.oldEnd+after), span(first.new-before, last.newEnd+after))
	at := first.old - before
	for _, b := range near {
		writeLines(out, ' ', old[at:b.old])
		writeLines(out, '-', old[b.old:b.oldEnd])
		writeLines(out, '+', new[b.new:b.newEnd])
		at = b.oldEnd
	}
	writeLines(out, ' ', old[at:at+after])
}

func writeLines(out *strings.Builder, mark byte, lines [][]byte) {
	for _, line := range lines {
		out.WriteByte(mark)
		out.Write(line)
		if !bytes.HasSuffix(line, []byte("\n")) {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// span is the place of the lines [from, to) as the unified form writes it: of none, the line before.
func span(from, to int) string {
	switch to - from {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return fmt.Sprint(from + 1)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}
