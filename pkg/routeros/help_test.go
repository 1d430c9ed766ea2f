package routeros

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const marker = "confhaulEnd5f2c9a71"

const header = "# 2026-03-01 04:10:07 by RouterOS 7.16.2\n# software id = ABCD-0123\n#\n# model = L009UiGS\n# serial number = HX1\n"

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// corpusRoot is the folder of the shared corpus; the test is skipped where it is absent.
func corpusRoot(t testing.TB) string {
	t.Helper()
	root := filepath.Join("..", "..", "..", "shared", "routeros", "corpus")
	if _, err := os.Stat(root); err != nil {
		t.Skip("the shared corpus is not here")
	}
	return root
}

// corpus reads a file of the shared corpus.
func corpus(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpusRoot(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func corpusLines(t testing.TB, name string) []string {
	t.Helper()
	return strings.Split(strings.TrimSuffix(string(corpus(t, name)), "\n"), "\n")
}

func crlf(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }

func lf(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) }

// wrap breaks unwrapped lines as RouterOS does at a session of width columns: outside quotes after a space or =, inside
// quotes anywhere but within an escape, a space there becoming \_, and before each \n. Where a line is none that RouterOS
// would print, it breaks it only where the break can be undone.
func wrap(text []byte, width int) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		if line[0] == '#' {
			out.Write(line)
			continue
		}
		w := wrapper{out: &out, width: width}
		w.line(string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return out.Bytes()
}

type wrapper struct {
	out    *bytes.Buffer
	width  int
	buf    string // the physical line under way
	last   int    // where it may be broken; 0: nowhere
	quoted bool
}

func (w *wrapper) breakAt(n int, next string) {
	w.out.WriteString(w.buf[:n] + "\\\n")
	w.buf, w.last = "    "+w.buf[n:]+next, 0
}

func (w *wrapper) line(line string) {
	for len(line) > 0 {
		unit := wrapUnit(line)
		line = line[len(unit):]
		full := len(w.buf)+len(unit) > w.width-1
		lost := unit == " " || unit == "\t" || unit == `\_` // at the start of a physical line
		switch {
		case w.quoted && unit == `\n`:
			w.breakAt(len(w.buf), unit)
		case full && w.quoted && unit == " ":
			w.breakAt(len(w.buf), `\_`)
		case full && w.quoted && !lost:
			w.breakAt(len(w.buf), unit)
		case full && !w.quoted && w.last > 0 && (w.last < len(w.buf) || !lost):
			w.breakAt(w.last, unit)
		default:
			if lost && w.last == len(w.buf) {
				w.last = 0
			}
			w.buf += unit
		}
		if unit == `"` {
			w.quoted, w.last = !w.quoted, 0
		}
		if !w.quoted && (unit == " " || unit == "=") {
			w.last = len(w.buf)
		}
	}
	w.out.WriteString(w.buf + "\n")
}

// wrapUnit is the first byte of line, or the whole escape that starts there.
func wrapUnit(line string) string {
	switch {
	case line[0] != '\\' || len(line) == 1:
		return line[:1]
	case len(line) == 2:
		return line
	}
	_, high := hexDigit(line[1])
	if _, low := hexDigit(line[2]); high && low {
		return line[:3]
	}
	return line[:2]
}
