package deployments

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// project reads Compose files as docker compose does: what its schema does not know is an error.
func project(t *testing.T, files ...string) *types.Project {
	t.Helper()
	dir, err := filepath.Abs("compose")
	if err != nil {
		t.Fatal(err)
	}
	details := types.ConfigDetails{WorkingDir: dir, Environment: types.Mapping{}}
	for _, f := range files {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: filepath.Join(dir, f)})
	}
	p, err := loader.LoadWithContext(t.Context(), details, loader.WithProfiles([]string{"*"}), func(o *loader.Options) { o.SetProjectName("confhaul", true) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestComposeIsHardened(t *testing.T) {
	t.Parallel()
	for _, files := range [][]string{{"compose.yaml"}, {"compose.yaml", "compose.sim.yaml"}} {
		for name, s := range project(t, files...).Services {
			for _, problem := range composeProblems(t, s) {
				t.Errorf("%v: %s: %s", files, name, problem)
			}
		}
	}
}

// once are services that do one thing and end.
var once = []string{"access", "nats-owner", "cli"}

var pinned = regexp.MustCompile(`^[a-z.]+/[a-z/]+:v?\d+\.\d+\.\d+(-alpine)?$`)

func composeProblems(t *testing.T, s types.ServiceConfig) []string {
	t.Helper()
	var out []string
	check := func(ok bool, problem string) {
		if !ok {
			out = append(out, problem)
		}
	}
	ours := strings.HasPrefix(s.Image, "confhaul:")
	check(ours || pinned.MatchString(s.Image), s.Image+" names no version")
	written := len(s.Configs) > 0 // Compose writes such a file into the container
	check(s.ReadOnly || written, "may write its own file system")
	check(slices.Equal(s.CapDrop, []string{"ALL"}), "keeps capabilities")
	check(slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}), "may get more privileges")
	check(!s.Privileged && s.Pid == "" && s.Ipc == "" && s.NetworkMode != "host", "shares the machine's name spaces")
	check(s.MemLimit > 0 && s.CPUS > 0, "has no limits")
	check(s.ContainerName == "", "has a fixed name and cannot be scaled")
	if ours && s.Name != "sim" {
		for variable := range s.Environment {
			check(slices.Contains(variables(t), variable), variable+" is no setting")
		}
		confhaul(t, append(slices.Clone(s.Command), "--help")...)
	}
	if slices.Contains(once, s.Name) {
		check(s.Restart == types.RestartPolicyNo, "is started again")
		return out
	}
	check(s.Restart == types.RestartPolicyUnlessStopped, "is not started again")
	check(ours || s.HealthCheck != nil, "has no health check")
	check(s.User != "root" && s.User != "0", "runs as root")
	for _, p := range s.Ports {
		check(p.HostIP == "127.0.0.1", "is open to the network")
		check(s.Name != "worker" && s.Name != "scheduler", "has a port of the machine and cannot be scaled")
	}
	if ours && s.Name != "sim" {
		check(s.StopGracePeriod != nil && time.Duration(*s.StopGracePeriod) > grace(t), "is killed within confhaul's grace")
	}
	return out
}

// TestComposeKeepsSecretsWhereTheyAreNeeded holds who gets what, and that every file that is mounted is there.
func TestComposeKeepsSecretsWhereTheyAreNeeded(t *testing.T) {
	t.Parallel()
	p := project(t, "compose.yaml")
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			theirs := strings.HasPrefix(v.Source, filepath.Join(p.WorkingDir, "secrets")) || v.Source == filepath.Join(p.WorkingDir, "fleet")
			if _, err := os.Stat(v.Source); err != nil && !theirs {
				t.Errorf("%s: %v", name, err)
			}
			if !v.ReadOnly {
				t.Errorf("%s may write %s", name, v.Source)
			}
			if v.Source == filepath.Join(p.WorkingDir, "secrets") && name != "worker" {
				t.Errorf("%s has the workers' credentials", name)
			}
		}
		if _, out := s.Networks["routers"]; out && name != "worker" {
			t.Errorf("%s reaches the routers", name)
		}
	}
	for _, name := range []string{"redis", "nats"} {
		if len(p.Services[name].Networks) != 1 || len(p.Services[name].Ports) > 0 || !p.Networks["inside"].Internal {
			t.Errorf("%s can be reached from elsewhere", name)
		}
	}
	for file, lines := range map[string][]string{
		"compose/redis.conf": {"appendonly yes", "maxmemory-policy noeviction"},
		"compose/nats.conf":  {"  sync_interval: always", "max_payload: 8MB"},
	} {
		for _, line := range lines {
			if !slices.Contains(strings.Split(read(t, file), "\n"), line) {
				t.Errorf("%s lacks %q", file, line)
			}
		}
	}
}

// TestComposeScrapesEverything gives Prometheus its own settings.
func TestComposeScrapesEverything(t *testing.T) {
	t.Parallel()
	need(t, "CONFHAUL_REQUIRE_PROMETHEUS", "promtool")
	dir := t.TempDir()
	path := write(t, dir, "prometheus.yml", read(t, "compose/prometheus.yml"), 0o644)
	write(t, dir, "alerts.yml", read(t, "prometheus/alerts.yml"), 0o644)
	run(t, dir, nil, "promtool", "check", "config", path)
	for name, s := range project(t, "compose.yaml").Services {
		if strings.HasPrefix(s.Image, "confhaul:") && !slices.Contains(once, name) && !strings.Contains(read(t, path), name) {
			t.Errorf("%s is not scraped", name)
		}
	}
}

// TestComposeLoginsAreTheRolesOwn holds that each role has the two files of the user it logs in as, and no other's; that they work
// is tested beside the commands (TestComposeServicesAreLetIn).
func TestComposeLoginsAreTheRolesOwn(t *testing.T) {
	t.Parallel()
	for _, files := range [][]string{{"compose.yaml"}, {"compose.yaml", "compose.sim.yaml"}} {
		p := project(t, files...)
		for name, s := range p.Services {
			mounted := map[string]string{}
			for _, v := range s.Volumes {
				if v.Source != "access" || name == "access" {
					continue
				}
				if v.Volume == nil || v.Volume.Subpath == "" || !v.ReadOnly {
					t.Errorf("%v: %s has the files of all, or may write", files, name)
					continue
				}
				mounted[v.Target] = v.Volume.Subpath
			}
			want := map[string]string{}
			switch {
			case name == "redis":
				want = map[string]string{"/etc/redis.acl": "redis.acl"}
			case name == "nats":
				want = map[string]string{"/etc/nats/users.conf": "nats.conf"}
			case s.Environment["CONFHAUL_REDIS"] != nil:
				if user := "redis://" + name + "@redis:6379"; *s.Environment["CONFHAUL_REDIS"] != user {
					t.Errorf("%v: %s logs in at %s", files, name, *s.Environment["CONFHAUL_REDIS"])
				}
				want[*s.Environment["CONFHAUL_REDIS_PASSWORD_FILE"]] = "redis-" + name + ".password"
				want[*s.Environment["CONFHAUL_NATS_NKEY_FILE"]] = "nats-" + name + ".nk"
			}
			if !maps.Equal(mounted, want) {
				t.Errorf("%v: %s has %v, want %v", files, name, mounted, want)
			}
		}
		for _, name := range []string{"redis", "nats"} {
			if d := p.Services[name].DependsOn["access"]; d.Condition != types.ServiceConditionCompletedSuccessfully || !d.Restart {
				t.Errorf("%v: %s does not wait for the logins, or keeps old ones: %+v", files, name, d)
			}
		}
	}
}
