package settings

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLogins has what goes together, and what does not with the whole message. DIR stands for the directory of the file.
func TestLogins(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"redis: rediss://u@h\nredis_password_file: p\nredis_tls: {ca: ca, cert: c, key: k}\n": "",
		"redis: rediss-sentinel://u@a:1,b:2/m\nredis_password_file: p\nredis_tls: {ca: ca}\n": "",
		"redis: rediss://:hunter2@h\n":                           "",
		"redis: h\nredis_password_file: p\n":                     "", // the default user's
		"status_redis: rediss://h\nredis_tls: {ca: ca}\n":        "",
		"nats: 'tls://u@a,tls://u@b'\nnats_password_file: p\n":   "",
		"nats: wss://a\nnats_nkey_file: n\nnats_tls: {ca: ca}\n": "",
		"nats: a\nnats_creds_file: n\n":                          "",
		"nats: token@a\n":                                        "",
		"redis: redis://u@h\n":                                   "1: redis: has a user without a password: use user:password@, or name its file in redis_password_file",
		"redis: redis-sentinel://u@a:1/m\n":                      "1: redis: has a user without a password: use user:password@, or name its file in redis_password_file",
		"redis: redis://u:hunter2@h\nredis_password_file: p\n":   "1: redis: has a password, and redis_password_file is set: give one of them",
		"redis: h\nredis_tls: {ca: ca}\n":                        "redis_tls: is set, and the address has no TLS: write redis: rediss://... or rediss-sentinel://...",
		"redis: rediss://h\nredis_tls: {cert: c}\n":              "redis_tls.key: is missing: a certificate needs its key",
		"redis: rediss://h\nredis_tls:\n  key: k\n":              "redis_tls.cert: is missing: a key needs its certificate",
		"nats: 'tls://a,nats://b'\nnats_tls: {ca: ca}\n":         "nats_tls: is set, and the address has no TLS: write nats: tls://...",
		"nats: a\nnats_password_file: p\n":                       "1: nats: names no user for the password in nats_password_file: use nats://USER@host:port",
		"nats: u:hunter2@a\nnats_password_file: p\n":             "1: nats: has a password, and nats_password_file is set: give one of them",
		"nats: u:hunter2@a\nnats_nkey_file: p\n":                 "1: nats: has a user or a token, and nats_nkey_file is set: give one of them",
		"nats: a\nnats_creds_file: c\nnats_nkey_file: n\n":       "3: nats_nkey_file: nats_creds_file and nats_nkey_file are set: give one of them",
		"nats: u@a\nnats_password_file: c\nnats_creds_file: n\n": "3: nats_creds_file: nats_password_file and nats_creds_file are set: give one of them",
	} {
		path := write(t, text)
		s, err := Load(path, environment())
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want == "":
			for field, p := range s.paths() {
				if *p != "" && !filepath.IsAbs(*p) {
					t.Errorf("%q: %s is %q, not beside the file", text, field, *p)
				}
			}
		case err == nil || strings.TrimPrefix(err.Error(), path+":") != want:
			t.Errorf("%q\ngot  %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password shows in %v", err)
		}
	}
}
