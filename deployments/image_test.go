package deployments

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// imageUser is who confhaul is in an image and in Kubernetes.
const imageUser = "65532:65532"

// TestImageHoldsOnlyTheProgram reads the Dockerfile as BuildKit does.
func TestImageHoldsOnlyTheProgram(t *testing.T) {
	t.Parallel()
	ast, err := parser.Parse(strings.NewReader(read(t, "Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	stages, global, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(stages) != 2 || len(ast.Warnings) > 0 {
		t.Fatalf("%d stages, %v", len(stages), ast.Warnings)
	}
	image := *global[0].Args[0].Value
	if v := goVersion(t); !strings.Contains(image, "golang:"+v) {
		t.Errorf("the build stage has %s and go.mod wants Go %s", image, v)
	}
	last := stages[1]
	if last.BaseName != "scratch" {
		t.Errorf("the image begins with %s", last.BaseName)
	}
	var user string
	var entrypoint, health []string
	for _, c := range last.Commands {
		switch c := c.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.EntrypointCommand:
			if entrypoint = c.CmdLine; c.PrependShell {
				t.Errorf("%s needs a shell", c)
			}
		case *instructions.HealthCheckCommand:
			health = c.Health.Test
		case *instructions.RunCommand:
			t.Errorf("%s needs a shell", c)
		}
	}
	if user != imageUser || !slices.Equal(entrypoint, []string{"/usr/bin/confhaul"}) || !slices.Equal(health, []string{"CMD", "/usr/bin/confhaul", "ready"}) {
		t.Errorf("user %q, entrypoint %q, health check %q", user, entrypoint, health)
	}
}

// goVersion is the release line of Go that confhaul is built with.
func goVersion(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, "../go.mod"), "\ngo ")
	version, _, _ := strings.Cut(rest, "\n")
	return strings.Join(strings.Split(version, ".")[:2], ".")
}

// builder stands in for the image with Go, which a machine without a registry cannot pull: this machine's Go is mounted into it.
const builder = `FROM scratch
COPY busybox /bin/sh
COPY busybox /bin/mkdir
COPY busybox /bin/cp
COPY certificates /etc/ssl/certs/ca-certificates.crt
COPY certificates /tmp/
ENV PATH=/usr/local/go/bin:/bin GOPROXY=off GOTOOLCHAIN=local GOMODCACHE=/go/pkg/mod GOCACHE=/cache
`

// TestImageIsBuilt builds the Dockerfile without a daemon and starts what is in it.
func TestImageIsBuilt(t *testing.T) {
	t.Parallel()
	need(t, "CONFHAUL_REQUIRE_BUILDAH", "buildah", "busybox")
	dir := t.TempDir()
	store := []string{"BUILDAH_ISOLATION=chroot"}
	buildah := func(args ...string) string {
		t.Helper()
		argv := append([]string{"buildah", "--storage-driver", "vfs", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "runroot")}, args...)
		return strings.TrimSpace(run(t, "..", store, argv...))
	}
	context := filepath.Join(dir, "builder")
	write(t, context, "busybox", read(t, "/bin/busybox"), 0o755)
	write(t, context, "certificates", "the certificates of this test\n", 0o644)
	buildah("bud", "-f", write(t, context, "Dockerfile", builder, 0o644), "-t", "builder", context)
	var env struct{ GOROOT, GOMODCACHE, GOCACHE string }
	if err := json.Unmarshal([]byte(run(t, "..", nil, "go", "env", "-json", "GOROOT", "GOMODCACHE", "GOCACHE")), &env); err != nil {
		t.Fatal(err)
	}
	run(t, "..", nil, "go", "mod", "download") // the build itself is off the network
	buildah("bud", "--format", "docker", "-f", "deployments/Dockerfile", "--build-arg", "GO=localhost/builder", "--build-arg", "VERSION=v1.2.3",
		"-v", env.GOROOT+":/usr/local/go:ro", "-v", env.GOMODCACHE+":/go/pkg/mod:ro", "-v", env.GOCACHE+":/cache", "-t", "confhaul", ".")

	container := buildah("from", "confhaul")
	root := buildah("mount", container)
	var files []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, root))
		}
		return err
	})
	if want := []string{"/etc/ssl/certs/ca-certificates.crt", "/usr/bin/confhaul"}; err != nil || !slices.Equal(files, want) {
		t.Errorf("in the image: %v (%v), want %v", files, err, want)
	}
	for _, dir := range []string{"/etc/confhaul", "/var/lib/confhaul", "/tmp"} { // volumes begin with the owner of what they are mounted on
		info, err := os.Stat(root + dir)
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != 65532 {
			t.Errorf("%s is not the user's (%v)", dir, err)
		}
	}
	if got := buildah("run", container, "--", "/usr/bin/confhaul", "version"); !strings.HasPrefix(got, "confhaul v1.2.3 ") {
		t.Errorf("the program says %q", got)
	}
	var inspected struct {
		Docker struct {
			Config struct{ User string }
		}
	}
	if err := json.Unmarshal([]byte(buildah("inspect", container)), &inspected); err != nil || inspected.Docker.Config.User != imageUser {
		t.Errorf("user %q, %v", inspected.Docker.Config.User, err)
	}
	buildah("rm", container)
}
