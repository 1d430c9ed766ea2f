package routeros

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

const savedMarker = endMarker + "0123456789abcdef0123456789abcdef"

func TestInspect(t *testing.T) {
	t.Parallel()
	six := strings.Replace(small, "7.16.2", "6.49.6", 1)
	for _, c := range []struct{ name, text, reason, proof, sensitive string }{
		{"7", small, "", ProofNone, SensitiveUnknown},
		{"6", six, "", ProofNone, SensitiveUnknown},
		{"8", strings.Replace(small, "7.16.2", "8.1", 1), "", ProofNone, SensitiveUnknown},
		{"marker", small + savedMarker + "\r\n", "", ProofMarker, SensitiveUnknown},
		{"marker of another length", small + savedMarker + "0\n", "neither a menu", ProofNone, SensitiveUnknown},
		{"marker in capitals", small + strings.ToUpper(savedMarker) + "\n", "neither a menu", ProofNone, SensitiveUnknown},
		{"marker twice", small + savedMarker + "\n" + savedMarker + "\n", "more text after the end marker", ProofMarker, SensitiveUnknown},
		{"marker after a cut", strings.TrimSuffix(small, "\n") + savedMarker, "inside line 10", ProofNone, SensitiveUnknown},
		{"secrets shown", small + "/radius\nadd secret=x\n", "", ProofNone, SensitiveShown},
		{"secrets hidden", small + "/ppp secret\nadd name=x\n", "", ProofNone, SensitiveHidden},
		{"timeout", small + "#error exporting /ip/x (timeout)\n", "did not answer in time", ProofNone, SensitiveUnknown},
		{"interrupted", small + "#interrupted\n", "interrupted", ProofNone, SensitiveUnknown},
		{"cut", small[:len(small)-1], "inside line 10", ProofNone, SensitiveUnknown},
		{"empty", "\r\n", "no export in the file", ProofNone, SensitiveUnknown},
		{"refusal", "expected end of command (line 1 column 9)\n", "instead of an export", ProofNone, SensitiveUnknown},
		{"sub-menu", header + "/ip address\nadd address=192.0.2.1/24\n", "", ProofNone, SensitiveUnknown},
		{"source block", "# Source: x\n# Extracted from: y\n\n" + small, "", ProofNone, SensitiveUnknown},
	} {
		i := Inspect([]byte(c.text))
		if i.Complete != (c.reason == "") || !strings.Contains(i.Reason, c.reason) || i.Proof != c.proof || i.Sensitive != c.sensitive {
			t.Errorf("%s: %+v", c.name, i)
		}
		if (i.Digest == "") != (i.Version == "") || i.Normalization != NormalizationVersion {
			t.Errorf("%s: version %q, digest %q, normalization %d", c.name, i.Version, i.Digest, i.Normalization)
		}
	}
	if a, b := Inspect([]byte(small)), Inspect(crlf([]byte(small+savedMarker+"\n"))); a.Digest != b.Digest {
		t.Error("the marker line is a part of the text")
	}
	if got := Body([]byte(small + savedMarker + "\n")); string(got) != small {
		t.Errorf("body %q", got)
	}
}

func TestInspectJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		string(read(t, "branch7.rsc")): `{"complete":true,"reason":"","proof":"none","version":"7.16.2","identity":"Branch 7 П \"north\"","model":"RB5009UG+S+",` +
			`"serial_number":"HX0000000AA","sensitive":"shown","known_gaps":["/system/routerboard/mode-button"],"normalization_version":1,` +
			`"sha256_hash":"` + Digest(read(t, "branch7.normal")) + `"}`,
		"": `{"complete":false,"reason":"there is no export in the file","proof":"none","version":"","identity":"","model":"","serial_number":"",` +
			`"sensitive":"unknown","known_gaps":[],"normalization_version":1,"sha256_hash":""}`,
	} {
		if got, err := json.Marshal(Inspect([]byte(text))); err != nil || string(got) != want {
			t.Errorf("%s\nwant %s, %v", got, want, err)
		}
	}
}

// FuzzInspect holds an inspection against Prove.
func FuzzInspect(f *testing.F) {
	for _, s := range []string{"", small, small + savedMarker, small + "#error exporting /x\n", small + "/ppp secret\nadd name=x\n", "expected end of command\n", savedMarker, "\ufeff" + small} {
		f.Add([]byte(s))
	}
	f.Add(read(f, "office6.rsc"))
	f.Fuzz(func(t *testing.T, text []byte) {
		i := Inspect(text)
		body := Body(text)
		text = bytes.TrimPrefix(text, byteOrderMark)
		if !bytes.HasPrefix(text, body) || (i.Proof == ProofMarker) != (len(body) < len(text)) {
			t.Fatalf("proof %s, but %d of %d bytes are text", i.Proof, len(body), len(text))
		}
		if i.Complete != (i.Reason == "") || i.KnownGaps == nil || i.Complete && (i.Digest == "" || i.Version == "") {
			t.Fatalf("contradiction: %+v", i)
		}
		if i.Digest != "" && i.Digest != Digest(Normalize(nil, body)) {
			t.Fatal("the digest is not the text's")
		}
		v := Prove(nil, body, "", Want{Major: Major(i.Version), WithoutSecrets: true}, slices.Clone(i.KnownGaps))
		if v.Complete != i.Complete || v.Identity != i.Identity || v.Sensitive != i.Sensitive {
			t.Fatalf("complete %t as a file, but %t: %s", i.Complete, v.Complete, v.Reason+i.Reason)
		}
	})
}
