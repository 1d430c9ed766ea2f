package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/access"
)

// TestRefusedInRedis has users try what is not theirs. Each attempt stands beside one that must work, so that no user is
// refused for being unknown.
func TestRefusedInRedis(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	ctx := t.Context()
	admin := g.admin()
	for _, site := range []string{"riga", "oslo"} {
		admin.LPush(ctx, "asynq:{"+site+"}:pending", "backup:r1")
		admin.HSet(ctx, "asynq:{"+site+"}:t:backup:r1", "state", "pending", "msg", "m")
		admin.Set(ctx, "confhaul:{"+site+"}:limit", "1", 0)
	}
	admin.ZAdd(ctx, "asynq:servers", redis.Z{Member: "asynq:servers:{x}"})
	pop := func(site string) []any {
		return []any{"RPOPLPUSH", "asynq:{" + site + "}:pending", "asynq:{" + site + "}:active"}
	}
	script := func(site string) []any {
		return []any{"EVAL", `return redis.call("HGET", "asynq:{` + site + `}:t:backup:r1", "msg")`, 0} // a key that it does not declare
	}
	for _, c := range []struct {
		name, user       string
		refused, allowed []any
	}{
		{"a worker takes another site's task", "worker-riga", pop("oslo"), pop("riga")},
		{"a worker reads another site's task", "worker-riga", []any{"HGETALL", "asynq:{oslo}:t:backup:r1"}, []any{"HGETALL", "asynq:{riga}:t:backup:r1"}},
		{"a worker writes another site's task", "worker-riga", []any{"HSET", "asynq:{oslo}:t:backup:r1", "a", "b"}, []any{"HSET", "asynq:{riga}:t:backup:r1", "a", "b"}},
		{"a worker deletes another site's task", "worker-riga", []any{"DEL", "asynq:{oslo}:t:backup:r1"}, []any{"DEL", "asynq:{riga}:t:none"}},
		{"a worker reads another site's task in a script", "worker-riga", script("oslo"), script("riga")},
		{"a worker moves another site's task to its own queue", "worker-riga", []any{"RPOPLPUSH", "asynq:{oslo}:pending", "asynq:{riga}:pending"}, []any{"LLEN", "asynq:{riga}:pending"}},
		{"a worker writes another site's limit", "worker-riga", []any{"SET", "confhaul:{oslo}:limit", "-1"}, []any{"GET", "confhaul:{riga}:limit"}},
		{"a worker writes its own limit", "worker-riga", []any{"SET", "confhaul:{riga}:limit", "-1"}, []any{"SET", "confhaul:{riga}:started", "1"}},
		{"a scaler reads a task", "scaler", []any{"HGETALL", "asynq:{riga}:t:backup:r1"}, []any{"EVAL", `return redis.call("type", KEYS[1]).ok .. redis.call("llen", KEYS[1])`, 1, "asynq:{riga}:pending"}},
		{"a scaler takes a task", "scaler", pop("oslo"), []any{"LLEN", "asynq:{oslo}:pending"}},
		{"a worker of all sites writes a limit", "worker", []any{"SET", "confhaul:{riga}:limit", "-1"}, []any{"GET", "confhaul:{oslo}:limit"}},
		{"a worker lists the workers of all sites", "worker-riga", []any{"ZRANGE", "asynq:servers", 0, -1}, []any{"ZADD", "asynq:servers", 1, "asynq:servers:{y}"}},
		{"a worker says which devices are online", "worker-riga", []any{"SET", "device:r1:status", "offline"}, []any{"EXISTS", "device:r1:status"}},
		{"a worker cancels tasks everywhere", "worker-riga", []any{"PUBLISH", "asynq:cancel", "backup:r1"}, []any{"PING"}},
		{"a worker empties redis", "worker-riga", []any{"FLUSHALL"}, []any{"TIME"}},
		{"a worker lists keys", "worker-riga", []any{"KEYS", "*"}, []any{"TIME"}},
		{"a worker scans keys", "worker-riga", []any{"SCAN", 0}, []any{"TIME"}},
		{"a worker changes redis", "worker-riga", []any{"CONFIG", "SET", "maxmemory", "1"}, []any{"TIME"}},
		{"a worker makes a user", "worker-riga", []any{"ACL", "SETUSER", "me", "on", "nopass", "+@all", "~*"}, []any{"TIME"}},
		{"a worker watches all commands", "worker-riga", []any{"MONITOR"}, []any{"TIME"}},
		{"a worker copies a key away", "worker-riga", []any{"MIGRATE", "127.0.0.1", "1", "asynq:{riga}:pending", 0, 10}, []any{"TIME"}},
		{"a scheduler empties redis", "scheduler", []any{"FLUSHALL"}, []any{"GET", "confhaul:{oslo}:limit"}},
		{"an archiver reads a task", "archiver", []any{"HGETALL", "asynq:{riga}:t:backup:r1"}, []any{"SET", "confhaul:probe", 1}},
		{"an archiver takes a task", "archiver", pop("oslo"), []any{"TIME"}},
		{"a dashboard takes a task", "dashboard", pop("oslo"), []any{"LRANGE", "asynq:{oslo}:pending", 0, -1}},
		{"a dashboard writes a task in a script", "dashboard", []any{"EVAL", `return redis.call("HSET", KEYS[1], "a", "b")`, 1, "asynq:{oslo}:t:backup:r1"}, []any{"HGET", "asynq:{oslo}:t:backup:r1", "state"}},
		{"a dashboard pauses a queue", "dashboard", []any{"SET", "asynq:{oslo}:paused", 1}, []any{"SMEMBERS", "asynq:queues"}},
		{"a command writes a limit", "cli", []any{"SET", "confhaul:{oslo}:limit", "-1"}, []any{"GET", "confhaul:{oslo}:limit"}},
		{"a command changes redis", "cli", []any{"CONFIG", "GET", "*"}, []any{"HGETALL", "asynq:{oslo}:t:backup:r1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			user := g.asRedis(c.user, g.password(c.user))
			if err := user.Do(ctx, c.allowed...).Err(); err != nil && !errors.Is(err, redis.Nil) {
				t.Errorf("%v: %v", c.allowed, err)
			}
			err := user.Do(ctx, c.refused...).Err()
			if err == nil || !strings.Contains(err.Error(), "ermission") && !strings.Contains(err.Error(), "user executing the script can't") {
				t.Errorf("%v: got %v, want it refused", c.refused, err)
			}
		})
	}
}

// refusalTimeout is how long an answer to a request that must have none is waited for.
const refusalTimeout = 150 * time.Millisecond

// intruder is a user of NATS with a client of its own.
type intruder struct {
	*testing.T
	nc, sees *nats.Conn // sees: a user that may read the registry
	prefix   string     // of JetStream
}

// read asks and says whether something came that holds the text.
func (i *intruder) read(subject, body, text string) bool {
	for _, prefix := range []string{"$JS.API.", i.prefix} { // its own account has a JetStream API of that name, without streams
		if m, err := i.nc.Request(prefix+subject, []byte(body), refusalTimeout); err == nil && strings.Contains(string(m.Data), text) {
			return true
		}
	}
	return false
}

// write publishes under every name that the subject may have here.
func (i *intruder) write(subject, reply string) {
	for _, name := range []string{subject, i.prefix + subject} {
		if err := i.nc.PublishMsg(&nats.Msg{Subject: name, Reply: reply, Data: []byte(`{"id":"intruder"}`)}); err != nil {
			i.Fatal(err)
		}
	}
	if err := i.nc.FlushTimeout(eventTimeout); err != nil {
		i.Fatal(err)
	}
}

// seq is the last sequence of a stream, and whether it is there.
func (i *intruder) seq(stream string) (uint64, bool) {
	i.Helper()
	var info struct {
		State struct {
			LastSeq uint64 `json:"last_seq"`
			Deleted int    `json:"num_deleted"`
			First   uint64 `json:"first_seq"`
		}
		Error any
	}
	ask(i.T, i.sees, "$JS.API.STREAM.INFO."+stream, "", &info)
	return info.State.LastSeq + 1<<40*uint64(info.State.Deleted) + 1<<50*info.State.First, info.Error == nil
}

// changes says whether do leaves a trace on a stream.
func (i *intruder) changes(stream string, do func()) bool {
	i.Helper()
	before, there := i.seq(stream)
	if !there {
		i.Fatal("no stream " + stream)
	}
	do()
	timer := time.NewTimer(refusalTimeout)
	defer timer.Stop()
	<-timer.C
	after, there := i.seq(stream)
	return !there || before != after
}

func (g *guarded) intrude(t *testing.T, user string) *intruder {
	t.Helper()
	i := &intruder{t, g.login(user), g.login("scheduler"), "$JS.API."}
	if strings.HasPrefix(user, "worker") {
		i.prefix = access.APIPrefix + "."
	}
	return i
}

// furnish makes the streams and puts something on each for two sites.
func (g *guarded) furnish(ctx context.Context) {
	g.Helper()
	_, config := g.emptyFleet()
	p := g.start("scheduler", config, "scheduler")
	scheduler := g.login("scheduler")
	eventually(g.T, "the streams", func() bool {
		m, err := scheduler.Request("$JS.API.STREAM.INFO.OBJ_CONFIG_LARGE", nil, refusalTimeout)
		return err == nil && !strings.Contains(string(m.Data), `"error"`)
	})
	p.kill()
	for _, site := range []string{"riga", "oslo"} {
		for _, bucket := range []string{"devices", "hostkeys", "state", "requests"} {
			user, prefix := "cli", ""
			g.put(user, prefix+"$KV.confhaul-"+bucket+"."+site+".r1", "secret of "+site)
		}
		g.put("cli", "$KV.confhaul-sites."+site, "secret of "+site)
		g.put("worker-"+site, "config.snapshot.create."+site+".r1", "secret of "+site)
	}
	if ctx.Err() != nil {
		g.Fatal(ctx.Err())
	}
}

func (g *guarded) put(user, subject, text string) {
	g.Helper()
	var ack struct{ Seq uint64 }
	ask(g.T, g.login(user), subject, text, &ack)
	if ack.Seq == 0 {
		g.Fatalf("%s may not write %s", user, subject)
	}
}

// TestRefusedInNATS has users try what is not theirs; what they may do is tried first.
func TestRefusedInNATS(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.furnish(t.Context())
	direct := func(stream, subject string) string { return "DIRECT.GET." + stream + "." + subject }
	consumer := func(stream, filter, deliver string) (subject, body string) {
		name := fmt.Sprintf("c%d", time.Now().UnixNano())
		config := map[string]any{"name": name, "filter_subject": filter, "ack_policy": "none", "deliver_policy": "all"}
		if deliver != "" {
			config["deliver_subject"] = deliver
		}
		b, _ := json.Marshal(map[string]any{"stream_name": stream, "config": config})
		return "CONSUMER.CREATE." + stream + "." + name + "." + filter, string(b)
	}
	const made = `"created"`
	t.Run("allowed", func(t *testing.T) {
		i := g.intrude(t, "worker-riga")
		if !i.read(direct("KV_confhaul-devices", "$KV.confhaul-devices.riga.r1"), "", "secret of riga") {
			t.Error("a worker does not read its own devices")
		}
		if subject, body := consumer("KV_confhaul-devices", "$KV.confhaul-devices.riga.*", ""); !i.read(subject, body, made) {
			t.Error("a worker does not follow its own devices")
		}
		if !i.changes("KV_confhaul-state", func() { i.write("$KV.confhaul-state.riga.r1", "") }) {
			t.Error("a worker does not write its own state")
		}
		if !i.changes("CONFIG_SNAPSHOTS", func() { i.write("config.snapshot.create.riga.r2", "") }) {
			t.Error("a worker does not publish its own snapshot")
		}
		if !g.intrude(t, "dashboard").read(direct("KV_confhaul-devices", "$KV.confhaul-devices.oslo.r1"), "", "secret of oslo") {
			t.Error("a dashboard does not read devices")
		}
	})
	for _, bucket := range []string{"devices", "hostkeys", "state", "requests"} {
		stream, theirs := "KV_confhaul-"+bucket, "$KV.confhaul-"+bucket+".oslo.r1"
		t.Run("a worker reads another site's "+bucket, func(t *testing.T) {
			i := g.intrude(t, "worker-riga")
			for subject, body := range map[string]string{
				direct(stream, theirs): "", "DIRECT.GET." + stream: `{"last_by_subj":"` + theirs + `"}`, "STREAM.MSG.GET." + stream: `{"last_by_subj":"` + theirs + `"}`,
				direct(stream, "$KV.confhaul-"+bucket+".riga.r1"): `{"multi_last":["` + theirs + `"]}`,
			} {
				if i.read(subject, body, "secret of oslo") {
					t.Errorf("%s %s is answered", subject, body)
				}
			}
			for _, filter := range []string{theirs, "$KV.confhaul-" + bucket + ".*.*", "$KV.confhaul-" + bucket + ".>", ">"} {
				if subject, body := consumer(stream, filter, ""); i.read(subject, body, made) {
					t.Errorf("%s makes a consumer", subject)
				}
			}
			subject, _ := consumer(stream, "$KV.confhaul-"+bucket+".riga.*", "")
			if _, body := consumer(stream, theirs, ""); i.read(subject, body, made) {
				t.Error("a consumer has another filter than its subject says")
			}
		})
		t.Run("a worker writes another site's "+bucket, func(t *testing.T) {
			i := g.intrude(t, "worker-riga")
			if i.changes(stream, func() { i.write(theirs, "") }) {
				t.Error("it is written")
			}
		})
	}
	for name, subject := range map[string]string{
		"a worker registers a device of its site": "$KV.confhaul-devices.riga.new", "a worker changes its site": "$KV.confhaul-sites.riga",
		"a worker asks for a backup": "$KV.confhaul-requests.riga.r1", "a worker changes the inventory": "$KV.confhaul-inventory.current",
	} {
		t.Run(name, func(t *testing.T) {
			i := g.intrude(t, "worker-riga")
			if i.changes("KV_"+strings.Split(subject, ".")[1], func() { i.write(subject, "") }) {
				t.Error("it is written")
			}
		})
	}
	t.Run("a worker has an answer sent into the registry", func(t *testing.T) {
		i := g.intrude(t, "worker-riga")
		if i.changes("KV_confhaul-devices", func() {
			for _, ask := range []string{direct("KV_confhaul-state", "$KV.confhaul-state.riga.r1"), "STREAM.INFO.KV_confhaul-state", "CONSUMER.MSG.NEXT.KV_confhaul-state.x"} {
				if err := i.nc.PublishRequest(i.prefix+ask, "$KV.confhaul-devices.oslo.forged", nil); err != nil {
					t.Fatal(err)
				}
			}
			i.write("$KV.confhaul-state.riga.r1", "$KV.confhaul-devices.oslo.forged")
		}) {
			t.Error("it is written")
		}
	})
	t.Run("a worker has a consumer deliver into the registry", func(t *testing.T) {
		i := g.intrude(t, "worker-riga")
		if i.changes("KV_confhaul-devices", func() {
			for _, to := range []string{"$KV.confhaul-devices.oslo.forged", "config.snapshot.create.oslo.forged"} {
				subject, body := consumer("KV_confhaul-state", "$KV.confhaul-state.riga.*", to)
				i.read(subject, body, made)
			}
		}) {
			t.Error("it is written")
		}
	})
	for _, tail := range []string{"oslo.r1", "oslo.new"} {
		t.Run("a worker publishes another site's snapshot "+tail, func(t *testing.T) {
			i := g.intrude(t, "worker-riga")
			if i.changes("CONFIG_SNAPSHOTS", func() { i.write("config.snapshot.create."+tail, ""); i.write("config.snapshot.large."+tail, "") }) {
				t.Error("it is published")
			}
			if i.changes("CONFIG_EVENTS", func() { i.write("config.backup.unchanged."+tail, ""); i.write("config.diff."+tail, "") }) {
				t.Error("an event is published")
			}
		})
	}
	for _, user := range []string{"worker-riga", "worker", "scheduler", "archiver", "dashboard", "cli"} {
		t.Run(user+" deletes streams", func(t *testing.T) {
			i := g.intrude(t, user)
			for _, stream := range []string{"CONFIG_SNAPSHOTS", "KV_confhaul-devices"} {
				if i.changes(stream, func() {
					i.read("STREAM.PURGE."+stream, "", "success")
					i.read("STREAM.DELETE."+stream, "", "success")
					if user != "archiver" {
						i.read("STREAM.MSG.DELETE."+stream, `{"seq":1}`, "success")
					}
				}) {
					t.Errorf("%s changed", stream)
				}
			}
		})
	}
	t.Run("a worker reads another site's snapshots", func(t *testing.T) {
		i := g.intrude(t, "worker-riga")
		for subject, body := range map[string]string{
			direct("CONFIG_SNAPSHOTS", "config.snapshot.create.oslo.r1"): "", direct("CONFIG_SNAPSHOTS", "config.snapshot.*.oslo.r1"): "",
			"STREAM.MSG.GET.CONFIG_SNAPSHOTS": `{"last_by_subj":"config.snapshot.create.oslo.r1"}`, "DIRECT.GET.CONFIG_SNAPSHOTS": `{"last_by_subj":"config.snapshot.create.oslo.r1"}`,
		} {
			if i.read(subject, body, "secret of oslo") {
				t.Errorf("%s %s is answered", subject, body)
			}
		}
		for _, filter := range []string{"config.snapshot.create.oslo.*", "config.snapshot.create.riga.*", ">"} {
			if subject, body := consumer("CONFIG_SNAPSHOTS", filter, ""); i.read(subject, body, made) {
				t.Errorf("%s makes a consumer", subject)
			}
		}
	})
	t.Run("a dashboard reads a router's configuration", func(t *testing.T) {
		i := g.intrude(t, "dashboard")
		const last = `{"last_by_subj":"config.snapshot.create.oslo.r1"}`
		for subject, body := range map[string]string{
			direct("CONFIG_SNAPSHOTS", "config.snapshot.create.oslo.r1"): "", "STREAM.MSG.GET.CONFIG_SNAPSHOTS": last, "DIRECT.GET.CONFIG_SNAPSHOTS": last,
		} {
			if i.read(subject, body, "secret of oslo") {
				t.Errorf("%s %s is answered", subject, body)
			}
		}
		for _, stream := range []string{"CONFIG_SNAPSHOTS", "CONFIG_SUSPECTS", "OBJ_CONFIG_LARGE"} {
			if subject, body := consumer(stream, ">", ""); i.read(subject, body, made) {
				t.Errorf("%s makes a consumer", subject)
			}
		}
	})
	t.Run("a worker listens to others", func(t *testing.T) {
		i := g.intrude(t, "worker-riga")
		heard := make(chan string, 100)
		for _, subject := range []string{">", "$KV.>", "_INBOX.>", "config.>"} {
			if _, err := i.nc.Subscribe(subject, func(m *nats.Msg) { heard <- m.Subject }); err != nil {
				t.Fatal(err)
			}
		}
		if err := i.nc.FlushTimeout(eventTimeout); err != nil {
			t.Fatal(err)
		}
		g.put("worker-oslo", "config.snapshot.create.oslo.r3", "secret of oslo")
		g.put("cli", "$KV.confhaul-devices.oslo.r3", "secret of oslo")
		timer := time.NewTimer(refusalTimeout)
		defer timer.Stop()
		select {
		case subject := <-heard:
			t.Errorf("it hears %s", subject)
		case <-timer.C:
		}
	})
	t.Run("a command listens to others", func(t *testing.T) {
		refused := make(chan error, 10)
		i := g.intrude(t, "cli")
		i.nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
		for _, subject := range []string{"_INBOX.>", "_INBOX_*.>", ">"} {
			if _, err := i.nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-refused:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Error(err)
				}
			case <-time.After(eventTimeout):
				t.Errorf("%s is not refused", subject)
			}
		}
	})
	for name, c := range map[string]struct{ user, stream, subject string }{
		"an archiver writes the registry":      {"archiver", "KV_confhaul-devices", "$KV.confhaul-devices.oslo.r1"},
		"an archiver publishes a snapshot":     {"archiver", "CONFIG_SNAPSHOTS", "config.snapshot.create.oslo.r1"},
		"an archiver writes a state":           {"archiver", "KV_confhaul-state", "$KV.confhaul-state.oslo.r1"},
		"a dashboard asks for a backup":        {"dashboard", "KV_confhaul-requests", "$KV.confhaul-requests.oslo.r1"},
		"a dashboard accepts a host key":       {"dashboard", "KV_confhaul-hostkeys", "$KV.confhaul-hostkeys.oslo.r1"},
		"a command publishes a snapshot":       {"cli", "CONFIG_SNAPSHOTS", "config.snapshot.create.oslo.r1"},
		"a scheduler publishes a snapshot":     {"scheduler", "CONFIG_SNAPSHOTS", "config.snapshot.create.oslo.r1"},
		"a worker of all sites writes devices": {"worker", "KV_confhaul-devices", "$KV.confhaul-devices.oslo.r1"},
	} {
		t.Run(name, func(t *testing.T) {
			i := g.intrude(t, c.user)
			if i.changes(c.stream, func() { i.write(c.subject, "") }) {
				t.Error("it is written")
			}
		})
	}
}
