// Package settings reads and checks the application's own settings: defaults, then a strict file, then the environment.
package settings

import (
	"path/filepath"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
)

// Settings is everything that can be set, for all commands. The yaml names, joined with dots, are the names of the fields
// in errors and in Set; in upper case with underscores and CONFHAUL_ in front they are environment variables.
type Settings struct {
	// Redis is where the queue lives: redis://, rediss:// (TLS) or unix://, a bare host:port, or behind Sentinel
	// redis-sentinel://[user:password@]host:port[,host:port...]/MASTER[/DB][?sentinel_password=...], where user and password
	// are Redis'; with TLS rediss-sentinel://. Default redis://127.0.0.1:6379/0.
	Redis secret.URL `yaml:"redis"`
	// NATS is where streams and state live: nats://, tls://, ws:// or wss://, several joined by commas; a bare host:port is
	// accepted. Default nats://127.0.0.1:4222.
	NATS secret.URL `yaml:"nats"`
	// StatusRedis is a second Redis that says which devices are online. Default none.
	StatusRedis secret.URL `yaml:"status_redis"`

	// RedisPasswordFile is the path of the password of the user in Redis. Default none.
	RedisPasswordFile string `yaml:"redis_password_file"`
	// RedisTLS are the files of the connections to Redis, StatusRedis and Sentinels whose address begins with rediss.
	RedisTLS transport.TLS `yaml:"redis_tls"`
	// NATSPasswordFile is the path of the password of the user in NATS. Default none.
	NATSPasswordFile string `yaml:"nats_password_file"`
	// NATSCredsFile is the path of a creds file, a user's JWT and seed. Default none.
	NATSCredsFile string `yaml:"nats_creds_file"`
	// NATSNkeyFile is the path of the seed of a user's nkey. Default none.
	NATSNkeyFile string `yaml:"nats_nkey_file"`
	// NATSTLS are the files of the connection to NATS, where its addresses begin with tls or wss.
	NATSTLS transport.TLS `yaml:"nats_tls"`
	// NATSAPIPrefix is where JetStream is reached from an account of its own, as settings acl gives one to each worker. Default
	// none: $JS.API.
	NATSAPIPrefix string `yaml:"nats_api_prefix"`

	// Inventory is the path of the inventory file; in a settings file relative to it. Default none.
	Inventory string `yaml:"inventory"`
	// Credentials is the path of the credentials file; in a settings file relative to it. Default none.
	Credentials string `yaml:"credentials"`
	// Data is the directory of the all-in-one process; in a settings file relative to it. Default
	// $XDG_DATA_HOME/confhaul, else ~/.local/share/confhaul, else /var/lib/confhaul.
	Data string `yaml:"data"`

	// Interval is the time between two backups of a device. Default 6h, at least IntervalMin.
	Interval time.Duration `yaml:"interval"`
	// Jitter spreads the first backups of new devices.
	Jitter Jitter `yaml:"jitter"`
	// Retry is the delays after the first, second, ... failure in a row; the last one repeats. Default 5m, 15m, 1h.
	Retry []time.Duration `yaml:"retry"`
	// RedialDelay is how long a router is left alone after a dial; 0 is no such rest. Default 5m.
	RedialDelay time.Duration `yaml:"redial_delay"`
	// Concurrency is the sessions of one worker at once. Default 10, at most ConcurrencyMax.
	Concurrency int `yaml:"concurrency"`
	// SiteLimit is the sessions of one site at once over the whole fleet, for sites without a limit of their own; -1 is no
	// limit. Default -1.
	SiteLimit int `yaml:"site_limit"`
	// Listen is the host:port of metrics, health and dashboard; port 0 takes a free one. Default 127.0.0.1:9470.
	Listen string `yaml:"listen"`
	// ListenTLS makes that address one of HTTPS.
	ListenTLS ListenTLS `yaml:"listen_tls"`
	// Dashboard says who may see it.
	Dashboard Dashboard `yaml:"dashboard"`
	// Pprof is the host:port of Go's profiles, on loopback: they show what the process holds in memory. Default none: there are
	// none.
	Pprof string `yaml:"pprof"`
	// Grace is how long running sessions may go on after SIGTERM. Default 45s, at least GraceMin.
	Grace time.Duration `yaml:"grace"`

	// Timeouts are the deadlines of one backup.
	Timeouts Timeouts `yaml:"timeouts"`
	// Stream is what the JetStream streams may hold.
	Stream Stream `yaml:"stream"`
	// Archive is where history stands and how much of it is kept.
	Archive Archive `yaml:"archive"`
	// Git is the mirror of the archive as a git repository, which the archiver writes.
	Git Git `yaml:"git"`
}

// Jitter is the range from which a new device's first backup gets its delay.
type Jitter struct {
	Min time.Duration `yaml:"min"` // default 30s
	Max time.Duration `yaml:"max"` // default 5m
}

// Timeouts are the named deadlines of one backup; none may be longer than Whole.
type Timeouts struct {
	Dial      time.Duration `yaml:"dial"`       // TCP connection; default 10s
	Handshake time.Duration `yaml:"handshake"`  // SSH key exchange; default 30s
	Login     time.Duration `yaml:"login"`      // authentication; default 20s
	FirstByte time.Duration `yaml:"first_byte"` // from the command to its first output; default 60s
	Idle      time.Duration `yaml:"idle"`       // between two pieces of output; default 60s
	Whole     time.Duration `yaml:"whole"`      // the backup from dial to stored; default 300s, at most WholeMax
}

// Stream is the size and safety of the streams, used when they are made.
type Stream struct {
	SnapshotBytes int64 `yaml:"snapshot_bytes"` // cap of the snapshot stream in bytes; default 4 GiB
	EventBytes    int64 `yaml:"event_bytes"`    // cap of the event stream in bytes; default 256 MiB
	Replicas      int   `yaml:"replicas"`       // copies in the NATS cluster, 1 to ReplicasMax; default 1
	PerSubject    int   `yaml:"per_subject"`    // snapshots kept per device where no archiver runs; default 100
}

// Archive is where the archiver keeps history, and what its retention leaves. The newest version of a device in the inventory
// always stays.
type Archive struct {
	Dir          string        `yaml:"dir"`           // a directory on a local disk; in a settings file relative to it; default none, see ArchiveDir
	KeepVersions int           `yaml:"keep_versions"` // versions per device; default 0, all
	KeepFor      time.Duration `yaml:"keep_for"`      // after a version was replaced; default 0, for ever
	KeepRemoved  time.Duration `yaml:"keep_removed"`  // all of a device after it left the inventory; default 2160h (90 days); 0 is for ever
}

// Git is a bare repository with all that the archive has, secrets included.
type Git struct {
	Dir string `yaml:"dir"` // of the repository; in a settings file relative to it; default none: there is no mirror
	// Remote is a repository that every change is pushed to, as git push takes it, with the keys of the user that the archiver
	// runs as; without a password. Default none.
	Remote string `yaml:"remote"`
	// PushSecrets says that the remote may have the routers' secrets. Without it there is no remote. Default false.
	PushSecrets bool `yaml:"push_secrets"`
}

// ListenTLS names the files, in PEM, of what Listen is served with: both or neither.
type ListenTLS struct {
	Cert string `yaml:"cert"` // certificate and what leads to its root; in a settings file relative to it; default none: plain HTTP
	Key  string `yaml:"key"`  // its key; in a settings file relative to it; default none
}

// Dashboard is the login of the dashboard.
type Dashboard struct {
	Tokens string `yaml:"tokens"` // path of the token file; in a settings file relative to it; default none: no login, and loopback only
}

// paths are the fields that are paths of files and directories; in a settings file they are relative to it.
func (s *Settings) paths() map[string]*string {
	return map[string]*string{
		"inventory": &s.Inventory, "credentials": &s.Credentials, "data": &s.Data, "archive.dir": &s.Archive.Dir, "git.dir": &s.Git.Dir,
		"listen_tls.cert": &s.ListenTLS.Cert, "listen_tls.key": &s.ListenTLS.Key, "dashboard.tokens": &s.Dashboard.Tokens,
		"redis_password_file": &s.RedisPasswordFile, "redis_tls.ca": &s.RedisTLS.CA, "redis_tls.cert": &s.RedisTLS.Cert, "redis_tls.key": &s.RedisTLS.Key,
		"nats_password_file": &s.NATSPasswordFile, "nats_creds_file": &s.NATSCredsFile, "nats_nkey_file": &s.NATSNkeyFile,
		"nats_tls.ca": &s.NATSTLS.CA, "nats_tls.cert": &s.NATSTLS.Cert, "nats_tls.key": &s.NATSTLS.Key,
	}
}

// ArchiveDir is the directory of the archive: the one that is set, and otherwise archive in the data directory, as up has it.
func (s Settings) ArchiveDir() string {
	if s.Archive.Dir != "" {
		return s.Archive.Dir
	}
	return filepath.Join(s.Data, "archive")
}

// Limits of settings.
const (
	IntervalMin    = time.Second
	ConcurrencyMax = 10_000           // a worker with as many takes 1 GB, and as many descriptors
	GraceMin       = 6 * time.Second  // 5 s of it are kept for handing tasks back
	WholeMax       = 50 * time.Minute // a task's own deadline in the queue is an hour
	StreamBytesMin = 1 << 20
	ReplicasMax    = 5 // what JetStream can do
)

// Default is what holds where nothing is set. Data is the system's directory, as nothing is known of the user.
func Default() Settings {
	return Settings{
		Redis:       secret.NewURL("redis://127.0.0.1:6379/0"),
		NATS:        secret.NewURL("nats://127.0.0.1:4222"),
		Data:        "/var/lib/confhaul",
		Interval:    6 * time.Hour,
		Jitter:      Jitter{Min: 30 * time.Second, Max: 5 * time.Minute},
		Retry:       []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour},
		RedialDelay: 5 * time.Minute,
		Concurrency: 10,
		SiteLimit:   -1,
		Listen:      "127.0.0.1:9470",
		Grace:       45 * time.Second,
		Timeouts: Timeouts{
			Dial: 10 * time.Second, Handshake: 30 * time.Second, Login: 20 * time.Second,
			FirstByte: time.Minute, Idle: time.Minute, Whole: 5 * time.Minute,
		},
		Stream:  Stream{SnapshotBytes: 4 << 30, EventBytes: 256 << 20, Replicas: 1, PerSubject: 100},
		Archive: Archive{KeepRemoved: 90 * 24 * time.Hour},
	}
}

// userData is the data directory of the user whose environment env is, or fallback.
func userData(env func(string) string, fallback string) string {
	if dir := env("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "confhaul")
	}
	if home := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "confhaul")
	}
	return fallback
}
