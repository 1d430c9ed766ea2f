package secret

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestSentinel(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Sentinel{
		"redis-sentinel://a:26379/main":                   {Addresses: []string{"a:26379"}, Master: "main"},
		"Redis-Sentinel://a:1,10.0.0.2:2,[fd00::1]:3/m/7": {Addresses: []string{"a:1", "10.0.0.2:2", "[fd00::1]:3"}, Master: "m", DB: 7},
		"redis-sentinel://u:p%40%2C%2F%3f@a:1,b:2/m-1.x_?sentinel_password=q%26%23": {
			Addresses: []string{"a:1", "b:2"}, Master: "m-1.x_", User: "u", Password: New("p@,/?"), SentinelPassword: New("q&#"),
		},
		"redis-sentinel://:12,3@a:1/m/0": {Addresses: []string{"a:1"}, Master: "m", Password: New("12,3")},
		"rediss-sentinel://u@a:1,b:2/m":  {Addresses: []string{"a:1", "b:2"}, Master: "m", User: "u", TLS: true},
	} {
		u := NewURL(text)
		got, err := u.Sentinel()
		if err != nil || !u.IsSentinel() || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v %v, want %+v", text, got, u.IsSentinel(), err, want)
		}
		if printed, again := u.String(), NewURL(u.String()).String(); printed != got.String() || printed != again || strings.ContainsAny(printed, "@?") {
			t.Errorf("%s prints as %s and that as %s", text, printed, again)
		}
	}
	if got := NewURL("redis-sentinel://u:pw@a:1,b:2/m?sentinel_password=pw").String(); got != "redis-sentinel://a:1,b:2/m/0" {
		t.Errorf("address prints as %s", got)
	}
}

// TestSentinelRefuses has passwords of 77 in all its wrong addresses: none shows, in the error or printed.
func TestSentinelRefuses(t *testing.T) {
	t.Parallel()
	const host, master, db = "names a Sentinel that is not host:port", "names no master", "names a database"
	const user, query, other = "has a user or password", "has something behind ?", "may have one sentinel_password"
	for text, want := range map[string]string{
		"":                                host,
		"/m":                              host,
		"a/m":                             host,
		"a:0/m":                           host,
		"a:65536/m":                       host,
		":1/m":                            host,
		"a:1,/m":                          host,
		"a:1,b/m":                         host,
		"u:77@a:1,u:77@b:2/m":             user,
		"u:77/x@a:1/m":                    master,
		"u:77#x@a:1/m":                    user,
		"u:77?x@a:1/m":                    master,
		"u:77%zz@a:1/m":                   user,
		"a:1":                             master,
		"a:1/":                            master,
		"a:1/m n":                         master,
		"a:1/m/x":                         db,
		"a:1/m/-1":                        db,
		"a:1/m/":                          db,
		"a:1/m/0/0":                       db,
		"a:1/m?password=77":               other,
		"a:1/m?sentinel_password=77%zz":   query,
		"a:1/m?sentinel_password=77#x":    "",
		"a:1/m?sentinel_password=77&db=1": other,
		"a:1/m?sentinel_password=77&sentinel_password=77": other,
	} {
		u := NewURL(SentinelScheme + "://" + text)
		_, err := u.Sentinel()
		switch {
		case want == "" && err == nil:
		case err == nil || want == "" || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want %s", text, err, want)
		case u.String() != redacted:
			t.Errorf("%s prints as %s", text, u)
		}
		if err != nil && strings.Contains(err.Error(), "77") || strings.Contains(u.String(), "77") {
			t.Errorf("the password shows in %v or %s", err, u)
		}
	}
	for text, want := range map[string]bool{
		"redis://h": false, "rediss://h": true, "RedisS://h": true, "redis-sentinel://a:1,b:2/m": false, "rediss-sentinel://a:1,b:2/m": true,
		"nats://h": false, "tls://a, tls://b": true, "tls://a,wss://b": true, "tls://a,nats://b": false, "unix:///rediss://": false, "": false,
	} {
		if got := NewURL(text).IsTLS(); got != want {
			t.Errorf("%s: TLS %v, want %v", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"redis://u@h": "u false", "redis://u:p@h": "u true", "redis://:p@h": " true", "redis://h": " false", "tls://u@a,tls://u@b": "u false",
		"rediss-sentinel://u@a:1,b:2/m": "u false", "redis-sentinel://:p@a:1,b:2/m": " true", "redis-sentinel://u:p%zz@a:1/m": " false",
	} {
		if user, has := NewURL(text).Login(); fmt.Sprint(user, " ", has) != want {
			t.Errorf("%s: %q %v, want %s", text, user, has, want)
		}
	}
	for _, text := range []string{"redis://h", "redis-sentinel", "redis-sentinel:h", "", "h:1"} {
		if NewURL(text).IsSentinel() {
			t.Errorf("%q is taken for Sentinel's", text)
		}
	}
}
