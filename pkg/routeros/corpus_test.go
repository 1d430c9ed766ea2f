package routeros

import (
	"bytes"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/fault"
)

func TestCorpusExports(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, version, model, identity string }{
		{"ytti-oxidized/extracted/CHR_7.10.1__export-show-sensitive.crlf.rsc", "7.10.1", "XXX", ""},
		{"ytti-oxidized/extracted/CHR_7.16__export-show-sensitive.crlf.rsc", "7.16", "D53G-5HacD2HnD&EG120K-EA", ""},
		{"ytti-oxidized/extracted/L009UiGS_7.15.2__export-show-sensitive.crlf.rsc", "7.15.2", "L009UiGS", "router"},
		{"ansible-collections-community.routeros/facts/export", "6.42.5", "", ""},
		{"ansible-collections-community.routeros/facts/export_verbose", "6.42.5", "", ""},
		{"networktocode-ntc-templates/mikrotik_routeros_ip_address_export_verbose.raw", "6.48.6", "RB750UPr2", ""},
		{"networktocode-netutils/compliance__routeros_backup.txt", "6.49.6", "CCR1036-8G-2S+", "ag1.123site.nwk.nj"},
		{"tikoci-lsp-routeros-ts/forum-amm0/topic-153357__post-0001-snippet-02.rsc", "7.1rc6", "RBD25GR-5HPacQD2HPnD", "M172-Rizi"},
		{"tikoci-lsp-routeros-ts/forum-amm0/topic-181480__post-0029-snippet-01.rsc", "7.18beta4", "RB760iGS", ""},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			text := lf(corpus(t, c.file))
			if !bytes.HasSuffix(text, []byte("\n")) {
				text = append(text, '\n') // as its collector left it
			}
			v := Prove(append(crlf(text), marker+"\r\n"...), marker, Want{Major: Major(c.version)}, nil)
			if !v.Complete || v.Version != c.version || v.Model != c.model || v.Identity != c.identity {
				t.Errorf("complete %t, version %q, model %q, identity %q: %s", v.Complete, v.Version, v.Model, v.Identity, v.Reason)
			}
			if a, b := Normalize(nil, text), Normalize(nil, crlf(text)); !bytes.Equal(a, b) || !bytes.Equal(a, Normalize(nil, a)) {
				t.Error("the normal form depends on line ends, or twice is not once")
			}
			checkWidths(t, c.file, text)
		})
	}
}

func TestCorpusRefused(t *testing.T) {
	t.Parallel()
	for file, reason := range map[string]string{
		"ytti-oxidized/extracted/CHR_7.16__quit.txt":                                           "interrupted",
		"ytti-oxidized/extracted/CHR_7.16__system-resource-print.txt":                          "line 1",
		"ytti-oxidized/extracted/L009UiGS_7.15.2__system-history-print.txt":                    "line 1",
		"networktocode-netutils/parser_base__routeros_full_sent.txt":                           "inside line 71",
		"tikoci-lsp-routeros-ts/forum-amm0/topic-153357__post-0003-snippet-01.rsc":             "line 6: a console prompt",
		"tikoci-lsp-routeros-ts/forum-amm0/topic-140952__post-0017-snippet-01.rsc":             "line 6: a console prompt",
		"tikoci-lsp-routeros-ts/forum-amm0/topic-153617__post-0160-snippet-02.rsc":             "line 6: a console prompt",
		"tikoci-lsp-routeros-ts/forum-amm0/topic-266277__post-0004-snippet-01.rsc":             "line 13",
		"tikoci-lsp-routeros-ts/comment-only.rsc":                                              "no header",
		"tikoci-lsp-routeros-ts/empty.rsc":                                                     "no export",
		"tikoci-lsp-routeros-ts/single-command.rsc":                                            "no header",
		"networktocode-ntc-templates/mikrotik_routeros_user_print.raw":                         "line 1",
		"ansible-collections-community.routeros/facts/system_resource_print_without-paging":    "line 1",
		"ansible-collections-community.routeros/facts/system_routerboard_print_without-paging": "line 1",
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			if v := Prove(corpus(t, file), "", Want{}, nil); v.Complete || !strings.Contains(v.Reason, reason) {
				t.Errorf("complete %t: %s", v.Complete, v.Reason)
			}
		})
	}
}

func TestCorpusLines(t *testing.T) {
	t.Parallel()
	for _, line := range corpusLines(t, "quirk-lines/header_lines.txt")[2:] {
		line, _, _ = strings.Cut(line, "\t")
		if v := Prove([]byte(line+"\n/ip\n"+marker), marker, Want{}, nil); !v.Complete {
			t.Errorf("%q: %s", line, v.Reason)
		}
	}
	for _, line := range corpusLines(t, "quirk-lines/header_followers.txt") {
		if v := Prove([]byte(header[:41]+line+"\n/ip\n"+marker), marker, Want{}, nil); !v.Complete {
			t.Errorf("%q: %s", line, v.Reason)
		}
	}
	want := Digest(Normalize(nil, []byte(small)))
	for _, line := range corpusLines(t, "quirk-lines/volatile_comment_lines.txt") {
		text := strings.Replace(small, "add address", line+"\nadd address", 1)
		if v := Prove([]byte(text+marker), marker, Want{}, nil); !v.Complete || Digest(Normalize(nil, v.Text)) != want {
			t.Errorf("%q: complete %t, or it changes the digest: %s", line, v.Complete, v.Reason)
		}
	}
	failures := corpusLines(t, "quirk-lines/failure_lines.txt")
	for _, line := range append(failures, corpusLines(t, "quirk-lines/login_banner_lines.txt")...) {
		for _, output := range []string{line + "\r\n", line + "\n" + marker + "\n", after(line), line + "\n" + small + marker} {
			if v := Prove([]byte(output), marker, Want{}, nil); v.Complete {
				t.Errorf("%q was accepted in %q", line, output)
			}
		}
	}
	for _, line := range failures {
		if v := Prove([]byte(line+"\r\n"), marker, Want{}, nil); v.Kind == fault.Incomplete && line[0] != '#' {
			t.Errorf("%q: kind %q, %s", line, v.Kind, v.Reason)
		}
	}
}
