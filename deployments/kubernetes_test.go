package deployments

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// rendered is what kubectl apply -k sends for the example.
type rendered struct {
	deployments  map[string]*appsv1.Deployment
	statefulSets map[string]*appsv1.StatefulSet
	services     map[string]*corev1.Service
	configMaps   map[string]*corev1.ConfigMap
	accounts     map[string]*corev1.ServiceAccount
	budgets      map[string]*policyv1.PodDisruptionBudget
	policies     map[string]*networkingv1.NetworkPolicy
	scaled       map[string]map[string]any
	trigger      map[string]map[string]any
}

// render decodes each object into the type that the API server has for it: a field that this does not have is an error.
func render(t *testing.T) rendered {
	t.Helper()
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "kubernetes/overlays/example")
	if err != nil {
		t.Fatal(err)
	}
	r := rendered{
		map[string]*appsv1.Deployment{}, map[string]*appsv1.StatefulSet{}, map[string]*corev1.Service{}, map[string]*corev1.ConfigMap{},
		map[string]*corev1.ServiceAccount{}, map[string]*policyv1.PodDisruptionBudget{}, map[string]*networkingv1.NetworkPolicy{},
		map[string]map[string]any{}, map[string]map[string]any{},
	}
	for _, object := range all.Resources() {
		text, err := object.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		name := object.GetName()
		if object.GetNamespace() != "confhaul" {
			t.Errorf("%s %s is in the namespace %q", object.GetKind(), name, object.GetNamespace())
		}
		switch object.GetApiVersion() + " " + object.GetKind() {
		case "apps/v1 Deployment":
			put(t, r.deployments, name, text)
		case "apps/v1 StatefulSet":
			put(t, r.statefulSets, name, text)
		case "v1 Service":
			put(t, r.services, name, text)
		case "v1 ConfigMap":
			put(t, r.configMaps, name, text)
		case "v1 ServiceAccount":
			put(t, r.accounts, name, text)
		case "policy/v1 PodDisruptionBudget":
			put(t, r.budgets, name, text)
		case "networking.k8s.io/v1 NetworkPolicy":
			put(t, r.policies, name, text)
		case "keda.sh/v1alpha1 ScaledObject":
			r.scaled[name] = custom(t, "keda.sh_scaledobjects.yaml", text)
		case "keda.sh/v1alpha1 TriggerAuthentication":
			r.trigger[name] = custom(t, "keda.sh_triggerauthentications.yaml", text)
		default:
			t.Errorf("no type for %s %s", object.GetApiVersion(), object.GetKind())
		}
	}
	return r
}

func put[T any](t *testing.T, into map[string]*T, name string, text []byte) {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict(text, v); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	into[name] = v
}

// pods are the templates of everything that runs.
func (r rendered) pods() map[string]corev1.PodTemplateSpec {
	out := map[string]corev1.PodTemplateSpec{}
	for name, d := range r.deployments {
		out[name] = d.Spec.Template
	}
	for name, s := range r.statefulSets {
		out[name] = s.Spec.Template
	}
	return out
}

func TestKubernetesPodsAreRestricted(t *testing.T) {
	t.Parallel()
	pods := render(t).pods()
	if len(pods) != 5 {
		t.Errorf("%d workloads", len(pods))
	}
	for name, pod := range pods {
		for _, problem := range podProblems(t, pod.Spec) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// podProblems is the restricted profile of Kubernetes' pod security standards, and what confhaul wants beside it.
func podProblems(t *testing.T, p corev1.PodSpec) []string {
	t.Helper()
	var out []string
	check := func(ok bool, problem string) {
		if !ok {
			out = append(out, problem)
		}
	}
	s, c := p.SecurityContext, p.Containers[0]
	check(s.RunAsNonRoot != nil && *s.RunAsNonRoot && fmt.Sprintf("%d:%d", *s.RunAsUser, *s.RunAsGroup) == imageUser, "runs as somebody else")
	check(s.SeccompProfile != nil && s.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "has no seccomp profile")
	check(!p.HostNetwork && !p.HostPID && !p.HostIPC, "shares the node's name spaces")
	check(*p.AutomountServiceAccountToken == false && *p.EnableServiceLinks == false, "gets a token or Services' variables")
	check(*c.SecurityContext.AllowPrivilegeEscalation == false && *c.SecurityContext.ReadOnlyRootFilesystem, "may escalate or write its root")
	check(slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(c.SecurityContext.Capabilities.Add) == 0, "keeps capabilities")
	check(time.Duration(*p.TerminationGracePeriodSeconds)*time.Second > grace(t), "is killed within confhaul's grace")
	check(c.StartupProbe.HTTPGet.Path == "/healthz" && c.LivenessProbe.HTTPGet.Path == "/healthz" && c.ReadinessProbe.HTTPGet.Path == "/readyz", "has other probes")
	check(!c.Resources.Limits.Memory().IsZero() && !c.Resources.Requests.Cpu().IsZero(), "has no limits")
	check(strings.Contains(c.Image, ":v"), "has an image of no version")
	for _, v := range p.Volumes {
		check(v.HostPath == nil, "mounts the node's files")
		check(v.Secret == nil || *v.Secret.DefaultMode == 0o440, "has secrets that others can read, or itself cannot")
		secret := v.Secret != nil && v.Secret.SecretName == "confhaul-credentials"
		check(!secret || c.Name == "worker", "has the workers' credentials")
	}
	for _, e := range c.Env {
		check(slices.Contains(variables(t), e.Name) || slices.Contains([]string{"SITE", "REDIS"}, e.Name), e.Name+" is no setting")
		if path, ok := strings.CutPrefix(e.Value, "/"); ok {
			mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix("/"+path, m.MountPath+"/") })
			check(mounted, e.Name+" names a file that is not mounted")
		}
	}
	confhaul(t, append(slices.Clone(c.Args), "--help")...)
	return out
}

// TestKubernetesSettingsLoad gives the settings of the example to the program that reads them.
func TestKubernetesSettingsLoad(t *testing.T) {
	t.Parallel()
	n := 0
	for name, m := range render(t).configMaps {
		if text, ok := m.Data["confhaul.yaml"]; ok {
			n++
			confhaul(t, "settings", "check", "--config", write(t, t.TempDir(), "confhaul.yaml", text, 0o600))
		}
		if text, ok := m.Data["inventory.yaml"]; ok {
			n++
			confhaul(t, "inventory", "check", write(t, t.TempDir(), "inventory.yaml", text, 0o600))
			if name != "confhaul-inventory" {
				t.Errorf("a changed inventory would restart schedulers: %s", name)
			}
		}
	}
	if n != 2 {
		t.Errorf("%d files", n)
	}
}

// TestKubernetesSitesAreScaledByTheirQueue follows each site from its worker to the list that KEDA counts.
func TestKubernetesSitesAreScaledByTheirQueue(t *testing.T) {
	t.Parallel()
	r := render(t)
	for _, site := range []string{"riga", "oslo"} {
		name := "confhaul-worker-" + site
		worker, scaled := r.deployments[name], r.scaled[name]
		if worker == nil || scaled == nil {
			t.Fatalf("no worker or no ScaledObject of %s", site)
		}
		c := worker.Spec.Template.Spec.Containers[0]
		if !slices.Contains(c.Env, corev1.EnvVar{Name: "SITE", Value: site}) || !slices.Contains(c.Args, "$(SITE)") {
			t.Errorf("%s serves %v", name, c.Env)
		}
		if worker.Spec.Replicas != nil {
			t.Errorf("%s: apply would undo what KEDA has set", name)
		}
		if worker.Spec.Selector.MatchLabels["site"] != site || r.budgets[name].Spec.Selector.MatchLabels["site"] != site {
			t.Errorf("%s takes pods of other sites for its own", name)
		}
		spec := scaled["spec"].(map[string]any)
		trigger := spec["triggers"].([]any)[0].(map[string]any)
		auth := trigger["authenticationRef"].(map[string]any)["name"].(string)
		if got := fmt.Sprintln(spec["scaleTargetRef"], spec["minReplicaCount"], trigger["type"], trigger["metadata"].(map[string]any)["listName"]); got != fmt.Sprintf("map[name:%s] 1 redis asynq:{%s}:pending\n", name, site) {
			t.Errorf("%s: %s", name, got)
		}
		if r.trigger[auth] == nil {
			t.Errorf("%s: there is no TriggerAuthentication %s", name, auth)
		}
	}
	if *r.deployments["confhaul-scheduler"].Spec.Replicas != 2 || r.budgets["confhaul-scheduler"].Spec.MinAvailable.IntValue() != 1 {
		t.Error("the last scheduler may be evicted")
	}
}

// TestKubernetesNetworkIsClosed holds who may reach what.
func TestKubernetesNetworkIsClosed(t *testing.T) {
	t.Parallel()
	r := render(t)
	deny := r.policies["confhaul-deny"].Spec
	if len(deny.Ingress)+len(deny.Egress) != 0 || len(deny.PolicyTypes) != 2 {
		t.Error("the first policy does not deny")
	}
	for name, pod := range r.pods() {
		if pod.Labels["app.kubernetes.io/name"] != deny.PodSelector.MatchLabels["app.kubernetes.io/name"] {
			t.Errorf("%s is outside of the policies", name)
		}
	}
	for name, p := range r.policies {
		for _, e := range p.Spec.Egress {
			for _, to := range e.To {
				if to.IPBlock != nil && p.Spec.PodSelector.MatchLabels["app.kubernetes.io/component"] != "worker" {
					t.Errorf("%s lets others than workers out", name)
				}
			}
		}
	}
}

// custom checks an object against the definition that KEDA installs in the API server: it refuses what that does not have, as
// strict decoding does, without the hundreds of packages behind KEDA's Go types.
func custom(t *testing.T, crd string, text []byte) map[string]any {
	t.Helper()
	dir := strings.TrimSpace(run(t, ".", nil, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/kedacore/keda/v2"))
	var definition struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(dir, "config/crd/bases", crd))), &definition); err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := yaml.UnmarshalStrict(text, &object); err != nil {
		t.Fatal(err)
	}
	s := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	s.Properties["metadata"] = schema{Type: "object", Open: true} // Kubernetes' own
	for _, problem := range s.check(crd, object) {
		t.Error(problem)
	}
	return object
}
