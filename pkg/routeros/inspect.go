package routeros

import "bytes"

// endMarker starts an end marker in a saved file; 32 hex digits follow.
const endMarker = "confhaul-end-"

// byteOrderMark is what some editors write in front of a file.
var byteOrderMark = []byte("\xef\xbb\xbf")

// Inspection says what a saved export is.
type Inspection struct {
	Complete      bool     `json:"complete"`
	Reason        string   `json:"reason"` // "" when complete
	Proof         string   `json:"proof"`  // ProofMarker where the file ends in an end marker, otherwise ProofNone
	Version       string   `json:"version"`
	Identity      string   `json:"identity"` // "" where the router has its default
	Model         string   `json:"model"`
	SerialNumber  string   `json:"serial_number"`
	Sensitive     string   `json:"sensitive"`  // SensitiveShown, SensitiveHidden or SensitiveUnknown
	KnownGaps     []string `json:"known_gaps"` // menus that the router could not export; never nil
	Normalization int      `json:"normalization_version"`
	Digest        string   `json:"sha256_hash"` // of the normal form; "" where the file has no header
}

// Inspect judges a saved export of any version. It knows no earlier export, so a menu that the router could not export is a
// gap and makes the file incomplete only where it did not answer in time. Neither do hidden secrets.
func Inspect(text []byte) Inspection {
	text = bytes.TrimPrefix(text, byteOrderMark)
	marker := lastMarker(text)
	text, marked := cutMarker(text, marker)
	s := look(nil, text)
	v := s.verdict(text, marked)
	standing := make([]string, 0, len(v.Gaps))
	for _, g := range v.Gaps {
		standing = append(standing, g.Menu)
	}
	kind, reason := judge(s, v, len(text), marker, standing)
	if len(bytes.TrimSpace(text)) == 0 {
		reason = "there is no export in the file"
	}
	i := Inspection{
		Complete:      kind == "",
		Reason:        reason,
		Proof:         v.Proof,
		Version:       v.Version,
		Identity:      v.Identity,
		Model:         v.Model,
		SerialNumber:  v.SerialNumber,
		Sensitive:     v.Sensitive,
		KnownGaps:     standing,
		Normalization: NormalizationVersion,
	}
	if v.Version != "" {
		i.Digest = Digest(s.normal(0))
	}
	return i
}

// Body is a saved export without the line of its end marker, where it has one.
func Body(text []byte) []byte {
	text = bytes.TrimPrefix(text, byteOrderMark)
	body, _ := cutMarker(text, lastMarker(text))
	return body
}

// lastMarker is the end marker that stands as the last line that is not empty, "" where there is none.
func lastMarker(text []byte) string {
	const digits = 32
	last := bytes.TrimRight(text, blanks+"\r\n")
	last = last[bytes.LastIndexByte(last, '\n')+1:]
	hex, ok := bytes.CutPrefix(last, []byte(endMarker))
	if !ok || len(hex) != digits || len(bytes.Trim(hex, "0123456789abcdef")) > 0 {
		return ""
	}
	return string(last)
}
