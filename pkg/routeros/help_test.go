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

// corpus reads a file of the shared corpus and skips the test where it is absent.
func corpus(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "routeros", "corpus", filepath.FromSlash(name)))
	if os.IsNotExist(err) {
		t.Skip("the shared corpus is not here")
	}
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
// quotes anywhere but within an escape, a space there becoming \_, and before each \n.
func wrap(text []byte, width int) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		if line[0] == '#' {
			out.Write(line)
			continue
		}
		wrapLine(&out, string(bytes.TrimSuffix(line, []byte("\n"))), width)
	}
	return out.Bytes()
}

func wrapLine(out *bytes.Buffer, line string, width int) {
	const indent = "    "
	buf, last, quoted := "", 0, false
	breakAt := func(n int, next string) {
		out.WriteString(buf[:n] + "\\\n")
		buf, last = indent+buf[n:]+next, 0
	}
	for len(line) > 0 {
		unit := line[:1]
		if unit == `\` {
			unit = line[:2]
			if _, hex := hexDigit(line[1]); hex {
				unit = line[:3]
			}
		}
		line = line[len(unit):]
		switch full := len(buf)+len(unit) > width-1; {
		case quoted && unit == `\n`:
			breakAt(len(buf), unit)
		case full && quoted && unit == " ":
			breakAt(len(buf), `\_`)
		case full && quoted:
			breakAt(len(buf), unit)
		case full && last > 0:
			breakAt(last, unit)
		default:
			buf += unit
		}
		if unit == `"` {
			quoted, last = !quoted, 0
		}
		if !quoted && (unit == " " || unit == "=") {
			last = len(buf)
		}
	}
	out.WriteString(buf + "\n")
}
