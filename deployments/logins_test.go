package deployments

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// logins is what settings acl makes for two sites.
type logins struct {
	*testing.T
	dir    string
	prefix map[string]string // nats_api_prefix, by user
}

var madeUser = regexp.MustCompile(`(?m)^(\S+): redis user \S+, redis_password_file: \S+?(?:, nats_nkey_file: \S+?)?(?:, nats_api_prefix: (\S+))?$`)

func newLogins(t *testing.T) logins {
	t.Helper()
	l := logins{t, t.TempDir(), map[string]string{}}
	for _, m := range madeUser.FindAllStringSubmatch(confhaul(t, "settings", "acl", "--dir", l.dir, "--site", "riga,oslo"), -1) {
		l.prefix[m[1]] = m[2]
	}
	if len(l.prefix) < 7 || l.prefix["worker-riga"] == "" {
		t.Fatalf("made: %v", l.prefix)
	}
	return l
}

// holds says whether a process has the login of its user and no other: variables that are set as they are for it, and the names
// under which files are made.
func (l logins) holds(process, user string, vars map[string]string, files ...string) {
	l.Helper()
	if !strings.HasPrefix(vars["CONFHAUL_REDIS"], "rediss://"+user+"@") || vars["CONFHAUL_NATS_API_PREFIX"] != l.prefix[user] {
		l.Errorf("%s: logs in at %q with the prefix %q, and not as %s", process, vars["CONFHAUL_REDIS"], vars["CONFHAUL_NATS_API_PREFIX"], user)
	}
	if want := []string{"redis-" + user + ".password", "nats-" + user + ".nk"}; !slices.Equal(files, want) {
		l.Errorf("%s has %v, want %v", process, files, want)
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(l.dir, f)); err != nil {
			l.Errorf("%s: %v", process, err)
		}
	}
}

// TestKubernetesLoginsAreMade resolves variables as the kubelet does, each from those above it.
func TestKubernetesLoginsAreMade(t *testing.T) {
	t.Parallel()
	r, l := render(t), newLogins(t)
	for name, pod := range r.pods() {
		vars := map[string]string{}
		for _, e := range pod.Spec.Containers[0].Env {
			value := e.Value
			if from := e.ValueFrom; from != nil {
				if r.configMaps[from.ConfigMapKeyRef.Name] == nil {
					t.Fatalf("%s: there is no ConfigMap %s", name, from.ConfigMapKeyRef.Name)
				}
				value = r.configMaps[from.ConfigMapKeyRef.Name].Data[from.ConfigMapKeyRef.Key]
			}
			for known, v := range vars {
				value = strings.ReplaceAll(value, "$("+known+")", v)
			}
			vars[e.Name] = value
		}
		user := strings.TrimPrefix(name, "confhaul-")
		password, nkey := vars["CONFHAUL_REDIS_PASSWORD_FILE"], vars["CONFHAUL_NATS_NKEY_FILE"]
		l.holds(name, user, vars, path.Base(password), path.Base(nkey))
		secrets := mountedAt(pod.Spec, path.Dir(password))
		if path.Dir(password) != path.Dir(nkey) || path.Dir(password) != path.Dir(vars["CONFHAUL_REDIS_TLS_CA"]) || secrets != "confhaul-"+user {
			t.Errorf("%s has the Secret %q", name, secrets)
		}
		if !strings.HasPrefix(vars["CONFHAUL_NATS"], "tls://") || vars["CONFHAUL_NATS_TLS_CA"] != vars["CONFHAUL_REDIS_TLS_CA"] {
			t.Errorf("%s reaches NATS at %q with the CA %q", name, vars["CONFHAUL_NATS"], vars["CONFHAUL_NATS_TLS_CA"])
		}
	}
	for name, s := range r.scaled {
		trigger := s["spec"].(map[string]any)["triggers"].([]any)[0].(map[string]any)["metadata"].(map[string]any)
		user, _ := trigger["username"].(string)
		if _, made := l.prefix[user]; !made || trigger["enableTLS"] != "true" || trigger["address"].(string)+"/0" != r.servers(t)["redis"] {
			t.Errorf("%s: %v", name, trigger)
		}
	}
	for name, a := range r.trigger {
		parameters := map[string]string{}
		for _, ref := range a["spec"].(map[string]any)["secretTargetRef"].([]any) {
			ref := ref.(map[string]any)
			parameters[ref["parameter"].(string)] = ref["key"].(string)
		}
		if _, err := os.Stat(filepath.Join(l.dir, parameters["password"])); err != nil || parameters["ca"] != "ca.pem" {
			t.Errorf("%s: %v, %v", name, parameters, err)
		}
	}
}

// servers are the addresses of the example.
func (r rendered) servers(t *testing.T) map[string]string {
	t.Helper()
	for name, m := range r.configMaps {
		if strings.HasPrefix(name, "confhaul-servers") {
			return m.Data
		}
	}
	t.Fatal("there are no addresses")
	return nil
}

// mountedAt is the Secret in a directory.
func mountedAt(p corev1.PodSpec, dir string) string {
	for _, m := range p.Containers[0].VolumeMounts {
		for _, v := range p.Volumes {
			if m.MountPath == dir && v.Name == m.Name && v.Secret != nil {
				return v.Secret.SecretName
			}
		}
	}
	return ""
}

// TestUnitLoginsAreMade resolves what systemd does in the drop-ins: %j is the last part of a unit's name, and %i the instance.
func TestUnitLoginsAreMade(t *testing.T) {
	t.Parallel()
	l := newLogins(t)
	for _, c := range []struct{ dropIn, j, i, user string }{
		{access[0], "scheduler", "", "scheduler"}, {access[0], "archiver", "", "archiver"}, {access[0], "dashboard", "", "dashboard"},
		{access[1], "worker", "riga", "worker-riga"},
	} {
		vars, loaded := map[string]string{}, map[string]string{}
		text := strings.NewReplacer("%j", c.j, "%i", c.i, "%d", "/run/credentials").Replace(read(t, filepath.Join("systemd", c.dropIn)))
		for _, m := range assignment.FindAllStringSubmatch(text, -1) {
			switch name, value, _ := strings.Cut(m[2], "="); m[1] {
			case "Environment":
				vars[name] = value
			case "LoadCredential":
				id, file, _ := strings.Cut(m[2], ":")
				loaded["/run/credentials/"+id] = path.Base(file)
			}
		}
		l.holds(c.user, c.user, vars, loaded[vars["CONFHAUL_REDIS_PASSWORD_FILE"]], loaded[vars["CONFHAUL_NATS_NKEY_FILE"]])
	}
}
