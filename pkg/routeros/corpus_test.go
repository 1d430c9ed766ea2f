package routeros

import (
	"bytes"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/fault"
)

// exports are the corpus files that are a whole export.
var exports = []struct{ file, version, model, identity, sensitive string }{
	{"ytti-oxidized/extracted/CHR_7.10.1__export-show-sensitive.rsc", "7.10.1", "XXX", "", SensitiveUnknown},
	{"ytti-oxidized/extracted/CHR_7.10.1__export-show-sensitive.crlf.rsc", "7.10.1", "XXX", "", SensitiveUnknown},
	{"ytti-oxidized/extracted/CHR_7.16__export-show-sensitive.rsc", "7.16", "D53G-5HacD2HnD&EG120K-EA", "", SensitiveUnknown},
	{"ytti-oxidized/extracted/CHR_7.16__export-show-sensitive.crlf.rsc", "7.16", "D53G-5HacD2HnD&EG120K-EA", "", SensitiveUnknown},
	{"ytti-oxidized/extracted/L009UiGS_7.15.2__export-show-sensitive.rsc", "7.15.2", "L009UiGS", "router", SensitiveShown},
	{"ytti-oxidized/extracted/L009UiGS_7.15.2__export-show-sensitive.crlf.rsc", "7.15.2", "L009UiGS", "router", SensitiveShown},
	{"ansible-collections-community.routeros/facts/export", "6.42.5", "", "", SensitiveUnknown},
	{"ansible-collections-community.routeros/facts/export_verbose", "6.42.5", "", "", SensitiveUnknown},
	// One menu only.
	{"networktocode-ntc-templates/mikrotik_routeros_ip_address_export_verbose.raw", "6.48.6", "RB750UPr2", "", SensitiveUnknown},
	// One line per item, and the date is gone from the header.
	{"networktocode-netutils/compliance__routeros_backup.txt", "6.49.6", "CCR1036-8G-2S+", "ag1.123site.nwk.nj", SensitiveShown},
	{"networktocode-netutils/compliance__routeros_intended.txt", "6.49.6", "CCR1036-8G-2S+", "ag1.123site.nwk.nj", SensitiveShown},
	// A block of comments before the header, put there by who collected it.
	{"tikoci-lsp-routeros-ts/forum-amm0/topic-153357__post-0001-snippet-02.rsc", "7.1rc6", "RBD25GR-5HPacQD2HPnD", "M172-Rizi", SensitiveShown},
	{"tikoci-lsp-routeros-ts/forum-amm0/topic-181480__post-0029-snippet-01.rsc", "7.18beta4", "RB760iGS", "", SensitiveUnknown},
}

// pretenders are those that are none, with a part of the reason.
var pretenders = map[string]string{
	// Made by hand: the last line lacks its end.
	"networktocode-netutils/parser_base__routeros_full_sent.txt":             "the export ends inside line 71",
	"networktocode-netutils/parser_base__routeros_full_received.py.txt":      "line 1",
	"networktocode-netutils/compliance_not_parsed__routeros_sent.txt":        "no header",
	"adamcharnock-routeros-diff/test_routeros_diff.py.txt":                   "line 1",
	"ytti-oxidized/spec-model-data/routeros#CHR_7.10.1#output.txt":           "no header", // what its collector made of it
	"ytti-oxidized/spec-model-data/routeros#CHR_7.16#output.txt":             "no header",
	"ytti-oxidized/spec-model-data/routeros#L009UiGS_7.15.2#output.txt":      "no header",
	"ytti-oxidized/spec-model-data/routeros#CHR_7.10.1#simulation.yaml":      "line 1",
	"ytti-oxidized/spec-model-data/routeros#CHR_7.16#simulation.yaml":        "line 1",
	"ytti-oxidized/spec-model-data/routeros#L009UiGS_7.15.2#simulation.yaml": "line 1",
	"ytti-oxidized/extracted/CHR_7.16__quit.txt":                             "interrupted",
	"ytti-oxidized/extracted/CHR_7.10.1__quit.txt":                           "interrupted",
	"ytti-oxidized/extracted/L009UiGS_7.15.2__quit.txt":                      "interrupted",
	"ytti-oxidized/extracted/CHR_7.16__system-resource-print.txt":            "line 1",
	"ytti-oxidized/extracted/L009UiGS_7.15.2__system-history-print.txt":      "line 1",
	// Interactive sessions.
	"tikoci-lsp-routeros-ts/forum-amm0/topic-153357__post-0003-snippet-01.rsc": "line 6: a console prompt",
	"tikoci-lsp-routeros-ts/forum-amm0/topic-140952__post-0017-snippet-01.rsc": "line 6: a console prompt",
	"tikoci-lsp-routeros-ts/forum-amm0/topic-153617__post-0160-snippet-02.rsc": "line 6: a console prompt",
	"ansible-collections-community.routeros/system_package_print":              "a console prompt",
	// Edited by hand into a script.
	"tikoci-lsp-routeros-ts/forum-amm0/topic-266277__post-0004-snippet-01.rsc":             "line 13",
	"tikoci-lsp-routeros-ts/comment-only.rsc":                                              "no header",
	"tikoci-lsp-routeros-ts/empty.rsc":                                                     "no export",
	"tikoci-lsp-routeros-ts/single-command.rsc":                                            "no header",
	"networktocode-ntc-templates/mikrotik_routeros_user_print.raw":                         "line 1",
	"ansible-collections-community.routeros/facts/system_resource_print_without-paging":    "line 1",
	"ansible-collections-community.routeros/facts/system_routerboard_print_without-paging": "line 1",
	// Lists of lines.
	"quirk-lines/header_lines.txt":           "no menu follows",
	"quirk-lines/header_followers.txt":       "no header",
	"quirk-lines/volatile_comment_lines.txt": "no header",
	"quirk-lines/failure_lines.txt":          "interrupted",
	"quirk-lines/login_banner_lines.txt":     "login screen",
}

func TestCorpusExports(t *testing.T) {
	t.Parallel()
	for _, c := range exports {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			raw := corpus(t, c.file)
			text := lf(raw)
			for _, output := range [][]byte{append(crlf(text), marker+"\r\n"...), append(slices.Clone(text), marker+"\n"...)} {
				v := Prove(nil, output, marker, Want{Major: Major(c.version)}, nil)
				if !v.Complete || v.Version != c.version || v.Model != c.model || v.Identity != c.identity || v.Sensitive != c.sensitive {
					t.Errorf("complete %t, version %q, model %q, identity %q, %s: %s", v.Complete, v.Version, v.Model, v.Identity, v.Sensitive, v.Reason)
				}
			}
			want := Digest(Normalize(nil, text))
			if i := Inspect(raw); !i.Complete || i.Proof != ProofNone || i.Digest != want || i.Sensitive != c.sensitive || len(i.KnownGaps) != 0 {
				t.Errorf("as a file: %+v", i)
			}
			for _, date := range []string{"jan/ 3/2025 22:48:28 ", "2026-03-01 04:10:07 ", "1970-01-02 00:46:38 ", ""} {
				if dated := headerDate.ReplaceAll(text, []byte("# "+date+"by RouterOS")); Inspect(dated).Digest != want {
					t.Errorf("the date %q changes the digest", date)
				}
			}
			checkWidths(t, c.file, text)
		})
	}
}

var headerDate = regexp.MustCompile(`(?m)^# .*by RouterOS`)

func TestCorpusRefused(t *testing.T) {
	t.Parallel()
	for file, reason := range pretenders {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			text := corpus(t, file)
			if v := Prove(nil, text, "", Want{}, nil); v.Complete || !strings.Contains(v.Reason, reason) {
				t.Errorf("complete %t: %s", v.Complete, v.Reason)
			}
			if i := Inspect(text); i.Complete || !strings.Contains(i.Reason, reason) {
				t.Errorf("as a file: complete %t: %s", i.Complete, i.Reason)
			}
			if v := Prove(nil, append(lf(text), "\n"+marker+"\n"...), marker, Want{}, nil); v.Complete {
				t.Errorf("with the end marker after it: %+v", v)
			}
		})
	}
}

// TestCorpusIsInTheTables: no file of the corpus that looks like an export is forgotten, and the rest is refused.
func TestCorpusIsInTheTables(t *testing.T) {
	t.Parallel()
	root := corpusRoot(t)
	known := map[string]bool{"INDEX.md": true}
	for _, c := range exports {
		known[c.file] = true
	}
	for file := range pretenders {
		known[file] = true
	}
	err := fs.WalkDir(os.DirFS(root), ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || known[file] {
			return err
		}
		text := corpus(t, file)
		if bytes.Contains(text, []byte("by RouterOS")) || bytes.Contains(append([]byte("\n"), text...), []byte("\n/")) {
			t.Errorf("%s looks like an export and is in no table", file)
		}
		if i := Inspect(text); i.Complete {
			t.Errorf("%s was accepted", file)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCorpusFullSent: the export of which only the last line end is missing has two standing gaps, and a line without its
// backslash in a note.
func TestCorpusFullSent(t *testing.T) {
	t.Parallel()
	text := append(corpus(t, "networktocode-netutils/parser_base__routeros_full_sent.txt"), '\n')
	gaps := []string{"/interface bridge calea", "/ip firewall calea"}
	if i := Inspect(text); !i.Complete || !slices.Equal(i.KnownGaps, gaps) || i.Version != "6.49.6" || i.Sensitive != SensitiveShown {
		t.Errorf("%+v", i)
	}
	output := append(slices.Clone(text), marker+"\n"...)
	if v := Prove(nil, output, marker, Want{Major: 6}, nil); v.Complete || !strings.Contains(v.Reason, "menu /interface bridge calea: seen for the first time") {
		t.Errorf("complete %t: %s", v.Complete, v.Reason)
	}
	if v := Prove(nil, output, marker, Want{Major: 6}, gaps); !v.Complete {
		t.Error(v.Reason)
	}
}

func TestCorpusLines(t *testing.T) {
	t.Parallel()
	for _, line := range corpusLines(t, "quirk-lines/header_lines.txt")[2:] {
		line, _, _ = strings.Cut(line, "\t")
		if v := Prove(nil, []byte(line+"\n/ip\n"+marker), marker, Want{}, nil); !v.Complete {
			t.Errorf("%q: %s", line, v.Reason)
		}
	}
	for _, line := range corpusLines(t, "quirk-lines/header_followers.txt") {
		if v := Prove(nil, []byte(header[:41]+line+"\n/ip\n"+marker), marker, Want{}, nil); !v.Complete {
			t.Errorf("%q: %s", line, v.Reason)
		}
	}
	want := Digest(Normalize(nil, []byte(small)))
	for _, line := range corpusLines(t, "quirk-lines/volatile_comment_lines.txt") {
		text := strings.Replace(small, "add address", line+"\nadd address", 1)
		if v := Prove(nil, []byte(text+marker), marker, Want{}, nil); !v.Complete || Digest(Normalize(nil, v.Text)) != want {
			t.Errorf("%q: complete %t, or it changes the digest: %s", line, v.Complete, v.Reason)
		}
	}
	failures := corpusLines(t, "quirk-lines/failure_lines.txt")
	for _, line := range append(failures, corpusLines(t, "quirk-lines/login_banner_lines.txt")...) {
		for _, output := range []string{line + "\r\n", line + "\n" + marker + "\n", after(line), line + "\n" + small + marker} {
			if v := Prove(nil, []byte(output), marker, Want{}, nil); v.Complete {
				t.Errorf("%q was accepted in %q", line, output)
			}
		}
	}
	for _, line := range failures {
		if v := Prove(nil, []byte(line+"\r\n"), marker, Want{}, nil); v.Kind == fault.Incomplete && line[0] != '#' {
			t.Errorf("%q: kind %q, %s", line, v.Kind, v.Reason)
		}
	}
}
