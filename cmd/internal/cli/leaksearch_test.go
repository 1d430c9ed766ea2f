package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
)

// leakSearch looks for secrets in whatever form they could have come through.
type leakSearch struct {
	needles map[string]string // form to the name of the secret and of the form
	looked  int               // bytes
}

func newLeakSearch(secrets map[string]string) *leakSearch {
	s := &leakSearch{needles: map[string]string{}}
	for name, value := range secrets {
		for form, text := range forms(value) {
			if _, known := s.needles[text]; !known || form == "clear" {
				s.needles[text] = name + ", " + form
			}
		}
	}
	return s
}

// forms are the ways in which a value can stand in a text, a record or a stored file.
func forms(value string) map[string]string {
	out := map[string]string{
		"clear": value, "hex": hex.EncodeToString([]byte(value)), "upper-case hex": strings.ToUpper(hex.EncodeToString([]byte(value))),
		"query": url.QueryEscape(value), "path": url.PathEscape(value), "user of a URL": url.UserPassword("", value).String()[1:],
		"Go": inside(strconv.Quote(value)), "ASCII of Go": inside(strconv.QuoteToASCII(value)), "Redis": quotedByRedis(value),
	}
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	if escaped, err := json.Marshal(value); err == nil && enc.Encode(value) == nil {
		out["JSON"], out["JSON for HTML"] = inside(strings.TrimSpace(plain.String())), inside(string(escaped))
		twice, _ := json.Marshal(string(escaped)) // a string can always be encoded
		out["JSON in JSON"] = strings.TrimSuffix(strings.TrimPrefix(inside(string(twice)), `\"`), `\"`)
	}
	for before := range 3 { // what stands before the value shifts its base64 by none, two or four bits
		for name, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64 of URLs": base64.RawURLEncoding} {
			text := e.EncodeToString([]byte(strings.Repeat("x", before) + value))
			shared := (before*8 + 5) / 6 // digits that hold bits of what stands before, and below of what comes after
			whole := (before + len(value)) * 8 / 6
			out[fmt.Sprint(name, " at ", before)] = text[shared:whole]
		}
	}
	return out
}

func inside(quoted string) string { return quoted[1 : len(quoted)-1] }

// quotedByRedis is how MONITOR prints a value.
func quotedByRedis(value string) string {
	var b strings.Builder
	for _, c := range []byte(value) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// in lists the secrets that stand in b.
func (s *leakSearch) in(b []byte) []string {
	s.looked += len(b)
	var out []string
	for text, name := range s.needles {
		if bytes.Contains(b, []byte(text)) {
			out = append(out, name)
		}
	}
	return out
}

// files looks through every file below dir.
func (s *leakSearch) files(t *testing.T, dir string) (found []string, bytes int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		bytes += len(b)
		for _, name := range s.in(b) {
			found = append(found, path+": "+name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, bytes
}

// unpacked is a JSON record together with the Snappy in it, which nobody could search otherwise.
func unpacked(record []byte) []byte {
	var e struct {
		Raw []byte `json:"raw_snappy"`
	}
	if json.Unmarshal(record, &e) != nil || len(e.Raw) == 0 {
		return record
	}
	text, err := s2.Decode(nil, e.Raw)
	if err != nil {
		return record
	}
	return append(append([]byte{}, record...), text...)
}

// TestLeakSearchFinds: every form of a secret is found wherever it stands, and nothing where none does.
func TestLeakSearchFinds(t *testing.T) {
	t.Parallel()
	secrets := map[string]string{"plain": "correct-horse-battery", "odd": `pa"ss\w<o>r&d/+%3d é~` + "`" + `$(x) {y}`}
	s := newLeakSearch(secrets)
	for name, value := range secrets {
		quoted, err := json.Marshal(map[string]string{"password": value})
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]string{
			"JSON": string(quoted), "Snappy": string(unpacked([]byte(`{"raw_snappy":"` + base64.StdEncoding.EncodeToString(s2.EncodeSnappy(nil, []byte("x"+value))) + `"}`))),
			"hex": fmt.Sprintf("%x", value), "HEX": fmt.Sprintf("%X", value), "Go": fmt.Sprintf("%q", value), "URL": "redis://:" + url.QueryEscape(value) + "@h",
		}
		for before := range 7 {
			for after := range 4 {
				around := []byte(strings.Repeat("b", before) + value + strings.Repeat("a", after))
				texts[fmt.Sprint("base64 between ", before, " and ", after)] = base64.StdEncoding.EncodeToString(around)
				texts[fmt.Sprint("base64 of URLs between ", before, " and ", after)] = base64.URLEncoding.EncodeToString(around)
			}
		}
		for form, text := range forms(value) {
			texts["the form "+form] = "before" + text + "after"
		}
		for form, text := range texts {
			if len(s.in([]byte(text))) == 0 {
				t.Errorf("%s as %s is not found in %s", name, form, text)
			}
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("\x00\x01correct-horse-battery\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, _ := s.files(t, dir); len(found) != 1 {
		t.Errorf("in a file: %v", found)
	}
	if found := s.in([]byte("correct-horse-batter y, pa\"ss, and what else a log has")); len(found) > 0 {
		t.Errorf("found where there is none: %v", found)
	}
}
