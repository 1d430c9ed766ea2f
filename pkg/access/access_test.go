package access

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func inbox(key string) string { return "_INBOX_" + key }

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
		mode := os.FileMode(0o600)
		if e.Name() == RedisFile || e.Name() == NATSFile {
			mode = 0o644
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v (%v)", e.Name(), info.Mode(), err)
		}
	}
	return out
}

// TestWrite gives the same files a second time, keeps the secrets of others where a site is added, and puts no secret into what
// the servers read.
func TestWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "access")
	write := func(sites ...string) map[string]string {
		t.Helper()
		if err := Write(dir, Users(Options{Sites: sites}), inbox); err != nil {
			t.Fatal(err)
		}
		return readAll(t, dir)
	}
	first := write("riga")
	if again := write("riga", "riga"); !maps.Equal(first, again) {
		t.Error("the second time gives other files")
	}
	more := write("oslo", "riga")
	for name, text := range first {
		server := name == RedisFile || name == NATSFile
		if !server && more[name] != text {
			t.Errorf("%s changed", name)
		}
		for line := range strings.Lines(first[RedisFile]) {
			if server && name == RedisFile && !strings.Contains(more[name], line) {
				t.Errorf("a line of %s is gone: %s", name, line)
			}
		}
		if !server && (strings.Contains(more[RedisFile], strings.TrimSpace(text)) || strings.Contains(more[NATSFile], strings.TrimSpace(text))) {
			t.Errorf("the secret of %s is in a file of the servers", name)
		}
	}
	if _, there := more[PasswordFile("worker-oslo")]; !there || len(more) != len(first)+2 {
		t.Errorf("files: %v", slices.Sorted(maps.Keys(more)))
	}
	path := filepath.Join(dir, SeedFile("cli"))
	if err := os.WriteFile(path, []byte("no seed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, Users(Options{}), inbox); err == nil || !strings.Contains(err.Error(), path+": no seed of a user's nkey") {
		t.Errorf("got %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, Users(Options{}), inbox); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
}

// TestNobodyDeletesStreams reads the table as a whole.
func TestNobodyDeletesStreams(t *testing.T) {
	t.Parallel()
	for _, u := range Users(Options{Sites: []string{"riga"}, Actions: true}) {
		for _, subject := range slices.Concat(u.NATS.Publish, u.NATS.Next) {
			if strings.Contains(subject, "STREAM.DELETE") || strings.Contains(subject, "STREAM.PURGE.KV_") || strings.Contains(subject, "STREAM.PURGE.CONFIG") ||
				slices.Contains([]string{">", "$JS.>", "$JS.API.>", "$KV.>"}, subject) {
				t.Errorf("%s may %s", u.Name, subject)
			}
		}
		if strings.Contains(strings.Join(u.Redis, " "), "+@all") || strings.Contains(strings.Join(u.Redis, " "), "~* ") {
			t.Errorf("%s: %v", u.Name, u.Redis)
		}
	}
}
