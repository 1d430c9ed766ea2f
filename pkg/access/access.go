// Package access says who may do what in Redis and NATS: one table of roles, and from it the settings of both servers. The
// secrets that go with them it keeps in files of their own.
package access

import (
	"fmt"
	"slices"
)

// User is one login, of a role and, of a worker, of the site that it is for.
type User struct {
	Name  string
	Redis []string // rules of an ACL, without name and password
	NATS  Rights
}

// Rights are what a user may do in NATS.
type Rights struct {
	Apart     bool     // an account of its own, into which Publish and Next are imported: see NATS
	Publish   []string // and ask for
	Next      []string // pull requests, each with many answers
	Subscribe []string // beside its own inbox
	Responses bool     // may answer what it is asked
}

// None says whether there are none at all: such a user has no login in NATS.
func (r Rights) None() bool { return len(r.Publish) == 0 }

// Options are what the users are made for.
type Options struct {
	Sites   []string // a worker for each
	Actions bool     // the dashboard may change something
}

// Users is the table, in a fixed order.
func Users(o Options) []User {
	users := []User{
		{"scheduler", schedulerRedis, scheduler()},
		{"worker", workerRedis("{*}"), worker("*", "*.*")},
		{"archiver", archiverRedis, archiver()},
		{"dashboard", dashboardRedis(o.Actions), dashboard(o.Actions)},
		{"cli", cliRedis, cli()},
		{"scaler", scalerRedis, Rights{}},
	}
	sites := slices.Clone(o.Sites)
	slices.Sort(sites)
	for _, site := range slices.Compact(sites) {
		users = append(users, User{"worker-" + site, workerRedis("{" + site + "}"), worker(site, site+".*")})
	}
	return users
}

// What Redis knows of us.
var (
	connection = []string{"+ping", "+select", "+time"}
	probe      = []string{"~confhaul:probe"}
	// The commands on the types of value that asynq and we have. Each names its keys, and those of a script are held against the
	// user's, too.
	values = []string{"+@string", "+@list", "+@hash", "+@set", "+@sortedset", "+del", "+exists", "+expire", "+expireat", "+eval", "+evalsha", "-@dangerous", "-@blocking"}
	reads  = []string{
		"+eval", "+evalsha", "+info", "+get", "+exists", "+llen", "+lrange", "+lindex", "+hget", "+hmget", "+hexists", "+hvals", "+zcard", "+zcount", "+zscore",
		"+zrange", "+zrangebyscore", "+zrevrange", "+smembers", "+sismember", "+scard", "+memory|usage",
	}
	servers   = []string{"~asynq:servers", "~asynq:workers", "%R~asynq:servers:{*", "%R~asynq:workers:{*"} // read by pruning
	several   = []string{"+multi", "+exec"}
	allQueues = []string{"~asynq:{*", "~asynq:queues"}
	statuses  = []string{"%R~device:*:status"}
)

func rules(parts ...[]string) []string { return slices.Concat(parts...) }

var (
	schedulerRedis = rules(allQueues, []string{"~confhaul:{*"}, servers, probe, statuses, connection, values, several)
	archiverRedis  = rules(probe, connection, []string{"+set"})
	// KEDA's: its script asks how long a queue is (github.com/kedacore/keda v2 pkg/scalers/redis_scaler.go). Redis wants a key
	// that may be written for any script; no command that writes is there.
	scalerRedis = []string{"~asynq:{*}:pending", "+ping", "+select", "+eval", "+type", "+llen"}
	cliRedis    = rules(allQueues, []string{"%R~confhaul:{*"}, servers, probe, statuses, connection, values)
)

// workerRedis has a worker write that it lives. Redis lets no script write a key that it may not read; but nobody finds the
// records of other workers, whose names are random, without the sets that list them.
func workerRedis(queue string) []string {
	limit, started := "%R~confhaul:"+queue+":limit", "~confhaul:"+queue+":started"
	own := "~asynq:" + queue + ":*"
	live := []string{"%W~asynq:servers", "%W~asynq:workers", "~asynq:servers:{*", "~asynq:workers:{*"}
	return rules([]string{own, limit, started}, live, []string{"&asynq:cancel", "+subscribe", "+unsubscribe"}, probe, statuses, connection, values)
}

// dashboardRedis has no command that writes but for the probe and for the lists of live workers, which whoever reads them prunes.
// Redis runs no script on a key that the user may not write.
func dashboardRedis(actions bool) []string {
	if actions {
		return cliRedis
	}
	return rules(allQueues, []string{"%R~confhaul:{*"}, servers, statuses, connection, reads,
		[]string{"(~confhaul:probe +set)", "(~asynq:servers ~asynq:workers +zremrangebyscore)"})
}

// What NATS knows of us (pkg/state, pkg/stream).
var (
	buckets = []string{"devices", "hostkeys", "state", "sites", "requests", "credentials", "inventory"}
	streams = []string{"CONFIG_SNAPSHOTS", "CONFIG_EVENTS", "CONFIG_SUSPECTS", "CONFIG_AUDIT", "OBJ_CONFIG_LARGE"}
)

const (
	api   = "$JS.API."
	audit = "config.audit.>" // who asked for what
)

func kv(bucket string) string           { return "KV_confhaul-" + bucket }
func record(bucket, keys string) string { return "$KV.confhaul-" + bucket + "." + keys }

func kvs() []string {
	out := make([]string, len(buckets))
	for i, b := range buckets {
		out[i] = kv(b)
	}
	return out
}

func each(names []string, formats ...string) []string {
	var out []string
	for _, name := range names {
		for _, format := range formats {
			out = append(out, fmt.Sprintf(format, name))
		}
	}
	return out
}

// see is to see how streams are, and how far the archiver is with them.
func see() []string {
	return append(each(all(), api+"STREAM.INFO.%s"), api+"CONSUMER.INFO.CONFIG_SNAPSHOTS.archiver", api+"CONSUMER.INFO.CONFIG_EVENTS.archiver")
}

// get is to read single messages.
func get(streams ...string) []string {
	return each(streams, api+"DIRECT.GET.%s", api+"DIRECT.GET.%s.>", api+"STREAM.MSG.GET.%s")
}

// read is to read streams through.
func read(streams ...string) []string {
	return append(each(streams, api+"CONSUMER.CREATE.%s.>", api+"CONSUMER.MSG.NEXT.%s.*", api+"CONSUMER.DELETE.%s.*", api+"CONSUMER.INFO.%s.*"), "$JS.FC.>")
}

// makes is to make streams and to widen their limits; none may delete one or empty it.
func makes(streams ...string) []string {
	return append(each(streams, api+"STREAM.CREATE.%s", api+"STREAM.UPDATE.%s"), api+"INFO")
}

func writes(buckets ...string) []string { return each(buckets, "$KV.confhaul-%s.>") }

func all() []string { return slices.Concat(kvs(), streams) }

// scheduler reads a snapshot where the archiver is behind, to say since when.
func scheduler() Rights {
	return Rights{
		Publish:   slices.Concat(see(), get(kvs()...), get("CONFIG_SNAPSHOTS"), read(kvs()...), makes(all()...), writes("devices", "hostkeys", "state", "sites", "requests", "inventory")),
		Subscribe: []string{"config.backup.trigger"}, Responses: true,
	}
}

// archiver takes what is on the streams and removes it once it is stored. It reads the registry, for the devices that left it.
func archiver() Rights {
	return Rights{Publish: slices.Concat(see(), get(all()...), read(kvs()...), read("CONFIG_SNAPSHOTS", "CONFIG_EVENTS", "OBJ_CONFIG_LARGE"), makes(all()...), []string{
		"$JS.ACK.CONFIG_SNAPSHOTS.archiver.>", "$JS.ACK.CONFIG_EVENTS.archiver.>",
		api + "STREAM.MSG.DELETE.CONFIG_SNAPSHOTS", api + "STREAM.PURGE.OBJ_CONFIG_LARGE", "$O.CONFIG_LARGE.M.>", "config.diff.>",
	})}
}

// dashboard has the registry and the changes, and no router's configuration.
func dashboard(actions bool) Rights {
	r := Rights{Publish: slices.Concat(see(), get(kvs()...), read(kvs()...), read("CONFIG_EVENTS"), []string{audit})}
	if actions {
		r.Publish = append(r.Publish, writes("requests", "sites", "state", "credentials")...)
	}
	return r
}

func cli() Rights {
	return Rights{Publish: slices.Concat(see(), get(all()...), read(kvs()...), read("CONFIG_EVENTS", "CONFIG_SUSPECTS", "CONFIG_AUDIT", "OBJ_CONFIG_LARGE"), makes(all()...), writes(buckets...),
		[]string{"config.backup.trigger", audit})}
}

// worker reads the records of its site, and writes what it learned of the site's devices. Credentials, and large texts, which
// have their digests for names, are shared by all sites. device is the tail of the site's subjects.
func worker(site, device string) Rights {
	r := Rights{Apart: true}
	r.Publish = append(each(all(), api+"STREAM.INFO.%s"), api+"CONSUMER.INFO.CONFIG_SNAPSHOTS.archiver")
	reads := func(bucket, keys string) {
		subject := record(bucket, keys)
		r.Publish = append(r.Publish, api+"DIRECT.GET."+kv(bucket)+"."+subject, api+"CONSUMER.CREATE."+kv(bucket)+".*."+subject)
		if site == "*" {
			r.Publish = append(r.Publish, api+"CONSUMER.CREATE."+kv(bucket)+".*")
		}
		r.Next = append(r.Next, api+"CONSUMER.MSG.NEXT."+kv(bucket)+".*")
	}
	for _, bucket := range []string{"devices", "hostkeys", "state", "requests"} {
		reads(bucket, device)
	}
	reads("sites", site)
	r.Publish = append(r.Publish, api+"DIRECT.GET."+kv("credentials")+"."+record("credentials", "*"), api+"CONSUMER.CREATE."+kv("credentials")+".*")
	r.Next = append(r.Next, api+"CONSUMER.MSG.NEXT."+kv("credentials")+".*")
	r.Publish = append(r.Publish,
		record("state", device), record("hostkeys", device), record("credentials", "*"),
		"config.snapshot.create."+device, "config.snapshot.large."+device, api+"DIRECT.GET.CONFIG_SNAPSHOTS.config.snapshot.*."+device,
		"config.backup.unchanged."+device, "config.backup.failed."+device, "config.backup.blocked."+device, "config.suspect."+device,
		"$O.CONFIG_LARGE.C.*", "$O.CONFIG_LARGE.M.*", api+"DIRECT.GET.OBJ_CONFIG_LARGE.$O.CONFIG_LARGE.M.*",
	)
	return r
}
