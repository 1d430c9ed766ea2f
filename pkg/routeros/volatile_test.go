package routeros

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/pacetest"
)

// flickers are comments that come and go.
var flickers = []string{
	"# inactive time", "# poe-out status: short_circuit", "# lte1 not ready", "# not running", "# managed by CAPsMAN", "#",
	"# channel: 5180/20-Ceee/ac/P(17dBm), SSID: a\\b, CAPsMAN forwarding", "# mode: AP, SSID: back\\", "# address pool error: pool not found: x (4)",
	"# DFS channel availability check (1 min)", "# received packet from 192.0.2.7 bad format",
	"# Firmware upgraded successfully, please reboot for changes to take effect!", "# something that no release printed so far",
}

// printer prints one configuration as a router does from time to time: nothing that it varies is configuration.
type printer struct {
	*rand.Rand
	lines []string // of the normal form
}

func (p *printer) print() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# 20%02d-%02d-%02d %02d:%02d:%02d by RouterOS 7.16.2\n# software id = ABCD-0123\n#\n# model = RB5009UG+S+\n",
		p.IntN(100), 1+p.IntN(12), 1+p.IntN(28), p.IntN(24), p.IntN(60), p.IntN(60))
	for _, line := range p.lines {
		for p.IntN(4) == 0 {
			out.WriteString(flickers[p.IntN(len(flickers))] + "\n")
		}
		out.WriteString(line + strings.Repeat(" ", p.IntN(2)*p.IntN(2)) + "\n")
		if line == "/lcd interface pages" {
			for range p.IntN(3) {
				fmt.Fprintf(&out, "set <pppoe-%d> disabled=yes display-time=5s\nset \"<l2tp-%d x>\" disabled=yes\n", p.IntN(99), p.IntN(99))
			}
		}
	}
	if p.IntN(2) == 0 {
		fmt.Fprintf(&out, "/lcd interface\nset <pppoe-%d> disabled=yes\n", p.IntN(99))
	}
	widths := []int{79, 80, 236, 1 << 20, 12 + p.IntN(300)}
	text := wrap(out.Bytes(), widths[p.IntN(len(widths))])
	if p.IntN(2) == 0 {
		return crlf(text)
	}
	return text
}

// TestOneConfigurationOneDigest prints it 10,000 times.
func TestOneConfigurationOneDigest(t *testing.T) {
	t.Parallel()
	times := pacetest.Fewer(10_000)
	for _, name := range []string{"branch7.normal", "office6.normal"} {
		normal := read(t, name)
		want := Digest(normal)
		p := printer{rand.New(rand.NewPCG(1, 2)), strings.Split(strings.TrimSuffix(string(normal), "\n"), "\n")}
		seen := map[string]bool{}
		var dst []byte
		for range times {
			text := p.print()
			seen[Digest(text)] = true
			v := Prove(dst[:0], append(text, marker+"\n"...), marker, Want{Major: 7}, nil)
			if dst = v.Normal; !v.Complete || Digest(dst) != want {
				t.Fatalf("complete %t, %s\n%s\ngives\n%s", v.Complete, v.Reason, text, dst)
			}
		}
		if len(seen) < times*9/10 {
			t.Errorf("only %d of %d prints differed", len(seen), times)
		}
	}
}

// TestEveryChangeShows deletes, doubles and changes each line that is not volatile, in the text as printed and in the normal
// form, and each byte of the normal form.
func TestEveryChangeShows(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"branch7", "office6"} {
		normal := read(t, name+".normal")
		for form, text := range map[string][]byte{"raw": read(t, name+".rsc"), "normal": normal} {
			lines := bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
			lcd := false
			for i, line := range lines {
				if line[0] == '/' {
					lcd = lcdMenu(bytes.TrimSpace(line))
				}
				only := bytes.Equal(bytes.TrimSpace(line), []byte("/system lcd page")) // its pages are dynamic
				if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' || lcd && dynamicPage(line) || only {
					continue
				}
				changed := slices.Concat(line[:len(line)/2], []byte("x"), line[len(line)/2:])
				for how, with := range map[string][][]byte{"deleted": nil, "doubled": {line, line}, "changed": {changed}} {
					got := Normalize(nil, bytes.Join(slices.Concat(lines[:i], with, lines[i+1:]), nil))
					if bytes.Equal(got, normal) {
						t.Errorf("%s, %s: line %d %s does not show: %s", name, form, i+1, how, line)
					}
				}
			}
		}
		for i := range normal {
			changed := slices.Clone(normal)
			if changed[i]++; bytes.Equal(Normalize(nil, changed), normal) {
				t.Errorf("%s: byte %d changed to %q does not show", name, i, changed[i])
			}
		}
	}
}
