package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "confhaul.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestDefaultIsValid(t *testing.T) {
	t.Parallel()
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := Load("", environment("HOME", "/home/op"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Data != "/home/op/.local/share/confhaul" || s.ArchiveDir() != s.Data+"/archive" {
		t.Errorf("data = %s, archive = %s", s.Data, s.ArchiveDir())
	}
	s, err = Load("", environment("HOME", "/home/op", "XDG_DATA_HOME", "/data"))
	if err != nil || s.Data != "/data/confhaul" {
		t.Errorf("data = %s, %v", s.Data, err)
	}
}

func TestLoadTakesFileThenEnvironment(t *testing.T) {
	t.Parallel()
	path := write(t, `
redis: cache:6379
nats: a:4222, tls://b:4222
inventory: fleet/routers.csv
credentials: /etc/confhaul/credentials.yaml
interval: 12h
retry: [1m, 2m]
jitter: {min: 1s, max: 2s}
concurrency: 20
timeouts:
  first_byte: 90s
stream:
  event_bytes: 1048576
archive: {dir: history, keep_versions: 9}
git: {dir: mirror, remote: 'git@host:fleet', push_secrets: true}
`)
	s, err := Load(path, environment("CONFHAUL_INTERVAL", "1h", "CONFIG_BACKUP_INTERVAL", "60", "CONFHAUL_TIMEOUTS_DIAL", "3s",
		"CONFIG_BACKUP_MAX_CONCURRENT", "7", "CONFHAUL_RETRY", "3m,4m,5m"))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(s.Redis.Reveal(), s.NATS.Reveal(), s.Inventory, s.Credentials, s.Interval, s.Retry, s.Jitter,
		s.Concurrency, s.Timeouts.FirstByte, s.Timeouts.Dial, s.Timeouts.Idle, s.Stream.EventBytes, s.ArchiveDir(), s.Archive.KeepVersions, s.Archive.KeepRemoved, s.Git)
	want := fmt.Sprintln("redis://cache:6379", "nats://a:4222,tls://b:4222", filepath.Join(filepath.Dir(path), "fleet/routers.csv"),
		"/etc/confhaul/credentials.yaml", "1h0m0s", "[3m0s 4m0s 5m0s]", "{1s 2s}", 7, "1m30s", "3s", "1m0s", 1048576, filepath.Join(filepath.Dir(path), "history"), 9, "2160h0m0s",
		Git{filepath.Join(filepath.Dir(path), "mirror"), "git@host:fleet", true})
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOldNamesAreSeconds(t *testing.T) {
	t.Parallel()
	s, err := Load("", environment("CONFIG_BACKUP_INTERVAL", "21600", "CONFIG_BACKUP_COMMAND_TIMEOUT", "25"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Interval != 6*time.Hour || s.Timeouts.Whole != 25*time.Second || s.Timeouts.Idle != 25*time.Second || s.Timeouts.Dial != 10*time.Second {
		t.Errorf("interval %v, timeouts %+v", s.Interval, s.Timeouts)
	}
	s, err = Load("", environment("CONFHAUL_TIMEOUTS_WHOLE", "4m", "CONFIG_BACKUP_COMMAND_TIMEOUT", "25"))
	if err != nil || s.Timeouts.Whole != 4*time.Minute || s.Timeouts.Idle != time.Minute {
		t.Errorf("timeouts %+v, %v: the old name won", s.Timeouts, err)
	}
}

// Every message is whole, so that a change of one is seen. FILE stands for the path.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const none = ""
	for name, c := range map[string]struct {
		text string
		env  []string
		want string
	}{
		"empty":            {"", nil, "FILE: the file is empty"},
		"comments only":    {"# later\n", nil, "FILE: the file is empty"},
		"not YAML":         {"redis: a:1\n\tnats: b\n", nil, "FILE:2: not YAML: found a tab character that violates indentation"},
		"not a mapping":    {"- a\n", nil, "FILE:1: want keys with values"},
		"two documents":    {"interval: 1h\n---\ninterval: 2h\n", nil, "FILE:2: use one document only, without a second ---"},
		"unknown anchor":   {"redis: *hunter2\n", nil, "FILE: not YAML: unknown anchor: quote a value that begins with *"},
		"unknown key":      {"jitter:\n  mim: 1s\n", nil, "FILE:2: jitter.mim: unknown key: use min, max"},
		"half a pair":      {"listen_tls: {cert: c.pem}\n", nil, "listen_tls: names one file of two: give cert and key"},
		"dotted key":       {"jitter.min: 1s\n", nil, "FILE:1: jitter.min: unknown key: use redis, nats, status_redis, redis_password_file, redis_tls, nats_password_file, nats_creds_file, nats_nkey_file, nats_tls, nats_api_prefix, inventory, credentials, data, interval, jitter, retry, redial_delay, concurrency, site_limit, listen, listen_tls, dashboard, pprof, grace, timeouts, stream, archive, git"},
		"twice":            {"interval: 1h\ninterval: 2h\n", nil, "FILE:2: interval: is already on line 1"},
		"no value":         {"interval:\n", nil, "FILE:1: interval: has no value: give one, or leave the key out"},
		"no unit":          {"interval: 21600\n", nil, `FILE:1: interval: "21600" is not a duration such as 90s or 6h`},
		"no list":          {"retry: 5m\n", nil, "FILE:1: retry: want a list such as [5m, 15m, 1h]"},
		"list":             {"redis: [a, b]\n", nil, "FILE:1: redis: want one value"},
		"not a number":     {"concurrency: many\n", nil, `FILE:1: concurrency: "many" is not a whole number`},
		"out of range":     {"\nconcurrency: 0\n", nil, "FILE:2: concurrency: 0 is not 1 to 10000"},
		"jitter":           {"jitter: {min: 10m}\n", nil, "jitter.max: 5m0s is less than jitter.min, 10m0s"},
		"timeout":          {"timeouts:\n  idle: 10m\n", nil, "FILE:2: timeouts.idle: 10m0s is longer than timeouts.whole, 5m0s"},
		"listen":           {"listen: localhost\n", nil, `FILE:1: listen: "localhost" is not host:port`},
		"listen port":      {"listen: localhost:70000\n", nil, `FILE:1: listen: port "70000" is not 0 to 65535`},
		"pprof":            {"pprof: 0.0.0.0:6060\n", nil, `FILE:1: pprof: "0.0.0.0:6060" is no loopback address: use 127.0.0.1:PORT, and reach it through an SSH tunnel`},
		"pprof, any":       {"pprof: :6060\n", nil, `FILE:1: pprof: ":6060" is no loopback address: use 127.0.0.1:PORT, and reach it through an SSH tunnel`},
		"scheme":           {"redis: http://u:hunter2@h\n", nil, "FILE:1: redis: begins with none of redis:// rediss:// unix:// redis-sentinel:// rediss-sentinel://"},
		"sentinel":         {"redis: redis-sentinel://u:hunter2@a:26379,b/main\n", nil, "FILE:1: redis: names a Sentinel that is not host:port: use redis-sentinel://host:port,host:port/MASTER"},
		"no master":        {"redis: redis-sentinel://u:hunter2@a:26379\n", nil, "FILE:1: redis: names no master as Sentinel knows it: use redis-sentinel://host:port,host:port/MASTER"},
		"address":          {"nats: 'nats://u:hunter2@h:x'\n", nil, "FILE:1: nats: is not an address such as nats://host:port"},
		"address port":     {"nats: h:70000\n", nil, "FILE:1: nats: port 70000 is not 1 to 65535"},
		"tilde":            {"data: ~/x\n", nil, `FILE:1: data: "DIR/~/x": ~ is not expanded: write the path out`},
		"environment":      {none, []string{"CONFHAUL_INTERVAL", "6"}, `CONFHAUL_INTERVAL: "6" is not a duration such as 90s or 6h`},
		"environment rule": {none, []string{"CONFHAUL_CONCURRENCY", "-1"}, "CONFHAUL_CONCURRENCY: -1 is not 1 to 10000"},
		"old name":         {none, []string{"CONFIG_BACKUP_COMMAND_TIMEOUT", "1m"}, `CONFIG_BACKUP_COMMAND_TIMEOUT: "1m" is not a whole number of seconds`},
		"push":             {"git: {dir: mirror, remote: 'git@host:fleet'}\n", nil, "FILE:1: git.remote: the mirror holds the routers' secrets: it is pushed only where git.push_secrets: true says that the remote may have them"},
		"push of nothing":  {"git: {remote: 'git@host:fleet', push_secrets: true}\n", nil, "FILE:1: git.remote: there is no mirror to push: name its directory in git.dir"},
		"push password":    {"git: {dir: mirror, remote: 'https://u:hunter2@host/fleet', push_secrets: true}\n", nil, "FILE:1: git.remote: has a password, which every user of the machine could see: use a key, or a credential helper of git"},
		"not a bool":       {"git: {push_secrets: yes}\n", nil, `FILE:1: git.push_secrets: "yes" is not true or false`},
		"both at once":     {"grace: 1s\nsite_limit: -2\n", nil, "FILE:2: site_limit: -2: use -1 for no limit, or the number of sessions\nFILE:1: grace: 1s is less than 6s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := ""
			if len(c.env) == 0 {
				path = write(t, c.text)
			}
			_, err := Load(path, environment(c.env...))
			if err == nil {
				t.Fatal("no error")
			}
			want := strings.NewReplacer("FILE", path, "DIR", filepath.Dir(path)).Replace(c.want)
			if err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func TestLoadTellsOfAMissingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.yaml")
	if _, err := Load(path, environment()); err == nil || err.Error() != path+": read settings: no such file or directory" {
		t.Errorf("error = %v", err)
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	s := Default()
	for name, text := range map[string]string{"redis": "h:1", "timeouts.dial": "1s", "stream.snapshot_bytes": "2000000", "listen": ":0"} {
		if err := s.Set(name, text); err != nil {
			t.Error(err)
		}
	}
	if s.Redis.Reveal() != "redis://h:1" || s.Timeouts.Dial != time.Second || s.Stream.SnapshotBytes != 2000000 || s.Validate() != nil {
		t.Errorf("%+v", s)
	}
	if err := s.Set("dial", "1s"); err == nil || err.Error() != "dial: no such setting" {
		t.Errorf("error = %v", err)
	}
}

// Validate takes every field with a limit to its wrong side, and names it.
func TestValidateNamesEveryField(t *testing.T) {
	t.Parallel()
	wrong := map[string]string{
		"redis": "x y", "nats": "", "status_redis": "ftp://h", "inventory": "~/i", "credentials": "~/c", "data": "", "interval": "10ms",
		"jitter.min": "-1s", "jitter.max": "1s", "retry": "0s", "redial_delay": "-1s", "concurrency": "10001", "site_limit": "-2", "listen": "x", "pprof": "h:1",
		"grace": "5s", "timeouts.dial": "0s", "timeouts.handshake": "6m", "timeouts.login": "-1s", "timeouts.first_byte": "6m", "timeouts.idle": "0s",
		"timeouts.whole": "0s", "stream.snapshot_bytes": "-1", "stream.event_bytes": "0", "stream.replicas": "6", "stream.per_subject": "0",
		"archive.dir": "~/archive", "archive.keep_versions": "-1", "archive.keep_for": "-1s", "archive.keep_removed": "-1s",
		"git.dir": "~/git", "git.remote": "-x", "dashboard.tokens": "~/t", "listen_tls.cert": "~/c", "listen_tls.key": "~/k",
		"redis_password_file": "~/p", "redis_tls.ca": "~/ca", "redis_tls.cert": "~/c", "redis_tls.key": "~/k",
		"nats_password_file": "~/p", "nats_creds_file": "~/c", "nats_nkey_file": "~/n", "nats_tls.ca": "~/ca", "nats_tls.cert": "~/c", "nats_tls.key": "~/k", "nats_api_prefix": "a.>",
	}
	for _, f := range fields(new(Settings)) {
		if _, either := f.value.(*bool); either {
			continue
		}
		t.Run(f.path, func(t *testing.T) {
			t.Parallel()
			s := Default()
			if err := s.Set(f.path, wrong[f.path]); err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), f.path+": ") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("redis: a:1\nretry: [1m]\njitter: {min: 1s}\n")
	f.Add("a: &a [*a]\n<<: *a\n? [x]\n: y\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := Default()
		if err := decode(&s, "f", []byte(text), origins{}); err == nil {
			_ = s.Validate()
		}
	})
}
