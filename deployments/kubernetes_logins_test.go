package deployments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// environment is what a container sees, with $(NAME) replaced as the kubelet does it: by what stands above.
func (r rendered) environment(t *testing.T, c corev1.Container) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, e := range c.Env {
		value := e.Value
		if e.ValueFrom != nil {
			from := e.ValueFrom.ConfigMapKeyRef
			m := r.configMaps[from.Name]
			if m == nil || m.Data[from.Key] == "" {
				t.Fatalf("%s: there is no %s in a ConfigMap %s", e.Name, from.Key, from.Name)
			}
			value = m.Data[from.Key]
		}
		for name, v := range out {
			value = strings.ReplaceAll(value, "$("+name+")", v)
		}
		out[e.Name] = value
	}
	return out
}

// TestKubernetesLogins holds each role's login against what settings acl makes.
func TestKubernetesLogins(t *testing.T) {
	t.Parallel()
	r, dir := render(t), filepath.Join(t.TempDir(), "access")
	inventory := write(t, t.TempDir(), "inventory.yaml", r.configMaps["confhaul-inventory"].Data["inventory.yaml"], 0o600)
	settings := write(t, filepath.Dir(inventory), "confhaul.yaml", "inventory: inventory.yaml\n", 0o600)
	told := confhaul(t, "settings", "acl", "--dir", dir, "--config", settings)
	made := func(file string) bool { _, err := os.Stat(filepath.Join(dir, file)); return err == nil }

	const mount = "/run/secrets/access/"
	for name, pod := range r.pods() {
		user := strings.TrimPrefix(name, "confhaul-")
		_, line, found := strings.Cut(told, user+": ")
		line, _, _ = strings.Cut(line, "\n")
		if !found {
			t.Fatalf("settings acl makes no user %s", user)
		}
		env := r.environment(t, pod.Spec.Containers[0])
		for variable, want := range map[string]string{
			"CONFHAUL_REDIS":               "rediss://" + user + "@redis.confhaul-data.svc:6379/0",
			"CONFHAUL_NATS":                "tls://nats.confhaul-data.svc:4222",
			"CONFHAUL_REDIS_PASSWORD_FILE": mount + "redis-" + user + ".password",
			"CONFHAUL_NATS_NKEY_FILE":      mount + "nats-" + user + ".nk",
			"CONFHAUL_REDIS_TLS_CA":        mount + "ca.pem",
			"CONFHAUL_NATS_TLS_CA":         mount + "ca.pem",
		} {
			if env[variable] != want {
				t.Errorf("%s: %s is %q, want %q", name, variable, env[variable], want)
			}
			if file := strings.TrimPrefix(want, mount); file != want && file != "ca.pem" && !made(file) {
				t.Errorf("%s: settings acl makes no %s", name, file)
			}
		}
		if prefix := env["CONFHAUL_NATS_API_PREFIX"]; strings.HasSuffix(line, "nats_api_prefix: "+prefix) != (prefix != "") {
			t.Errorf("%s: the prefix %q is not that of %q", name, prefix, line)
		}
		secrets := []string{}
		for _, v := range pod.Spec.Volumes {
			if v.Name == "access" {
				secrets = append(secrets, v.Secret.SecretName)
			}
		}
		if len(secrets) != 1 || secrets[0] != name {
			t.Errorf("%s: has the logins of %v", name, secrets)
		}
	}
	for _, auth := range r.trigger {
		for _, ref := range auth["spec"].(map[string]any)["secretTargetRef"].([]any) {
			if key := ref.(map[string]any)["key"].(string); key != "ca.pem" && !made(key) {
				t.Errorf("KEDA: settings acl makes no %s", key)
			}
		}
	}
}
