package mirror

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	// gitTimeout bounds everything else.
	gitTimeout = time.Minute
	// importTimeout bounds one import, and the packing after it; a hundred thousand versions take some minutes.
	importTimeout = time.Hour
	// pushTimeout bounds one push.
	pushTimeout = 10 * time.Minute
	// lockTimeout bounds the wait for another process that writes the same repository. Most writes take seconds; where one
	// takes longer, as a first import, the next try waits again, and somebody hears of it.
	lockTimeout = 10 * time.Minute
	// dirMode keeps the secrets of the routers to the user who writes them.
	dirMode = 0o700
	// stderrMax is how much of git's complaint is told, in bytes.
	stderrMax = 2000

	// The last commit of an import says how far the archive is mirrored.
	revisionTrailer = "Archive-Revision"
	untilTrailer    = "Archived-Until"
	// A repository of ours says so in its config: no other one is ever written to.
	ours = "confhaul.mirror"
)

// repository is a bare git repository that this package writes.
type repository struct{ dir string }

// tip is where the branch stands.
type tip struct {
	exists   bool
	files    map[string]string // blob by path
	revision uint64
	until    time.Time
}

// open finds the repository, or makes it.
func open(ctx context.Context, dir string) (repository, error) {
	r := repository{dir}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0:
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return r, failed(err)
		}
		if _, err := r.git(ctx, "init", "--quiet", "--bare", "--initial-branch="+Branch, "."); err != nil {
			return r, err
		}
		_, err = r.git(ctx, "config", ours, "true")
		return r, err
	case err != nil:
		return r, failed(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		if out, err := r.git(ctx, "config", "--get", ours); err == nil && strings.TrimSpace(string(out)) == "true" {
			return r, r.clean(time.Now())
		}
	}
	return r, fault.New(fault.Rejected, "write git mirror", "%s is there and is no mirror of confhaul: name a directory that is empty or missing", dir)
}

// clean removes what a git that was killed has left: a lock on the branch, with which no later one would write it, and half
// packs, each as large as an import. What is younger may belong to a git that somebody runs here by hand.
func (r repository) clean(now time.Time) error {
	for pattern, age := range map[string]time.Duration{
		"refs/heads/*.lock": gitTimeout, "objects/pack/tmp_*": importTimeout, "objects/pack/.tmp-*": importTimeout, "fast_import_crash_*": importTimeout,
	} {
		left, err := fs.Glob(os.DirFS(r.dir), pattern)
		if err != nil {
			return failed(err)
		}
		for _, name := range left {
			path := filepath.Join(r.dir, name)
			info, err := os.Lstat(path)
			if err == nil && now.Sub(info.ModTime()) > age {
				err = os.Remove(path)
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return failed(err)
			}
		}
	}
	return nil
}

// command prepares git without anybody's settings.
func (r repository) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--git-dir=.", "-c", "core.quotePath=false"}, args...)...) //nolint:gosec // ours
	cmd.Dir = r.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0"}
	cmd.WaitDelay = time.Second
	return cmd
}

func (r repository) git(ctx context.Context, args ...string) ([]byte, error) {
	return r.within(ctx, gitTimeout, args...)
}

func (r repository) within(ctx context.Context, timeout time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("git %s did not end within %s", args[0], timeout))
	defer cancel()
	var stderr bytes.Buffer
	cmd := r.command(ctx, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	return out, complaint(ctx, args[0], err, stderr.String())
}

// complaint is git's failure with what it says.
func complaint(ctx context.Context, what string, err error, stderr string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return fault.New(fault.Rejected, "write git mirror", "the program git is not installed: %w", err)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	stderr = strings.TrimSpace(stderr)
	return failed(fmt.Errorf("git %s: %w: %s", what, err, stderr[:min(len(stderr), stderrMax)]))
}

// Push sends the branch to a remote repository, with the settings and keys of the user whose process this is. What has gone
// another way there is refused; force writes over it, as after Rebuild.
func (m *Mirror) Push(ctx context.Context, remote string, force bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pushTimeout, fmt.Errorf("git push did not end within %s", pushTimeout))
	defer cancel()
	ref := "refs/heads/" + Branch
	if force {
		ref = "+" + ref
	}
	cmd := repository{m.dir}.command(ctx, "push", "--quiet", "--porcelain", "--end-of-options", remote, ref+":refs/heads/"+Branch)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_TERMINAL_PROMPT=0") // nobody is there to be asked
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	return complaint(ctx, "push", err, stderr.String()+string(out))
}

// pack puts the small packs and loose objects of the last imports together; what is packed well already is not read, so that
// the cost does not grow with the history.
func (r repository) pack(ctx context.Context) error {
	_, err := r.within(ctx, importTimeout, "repack", "--geometric=2", "-d", "--quiet")
	return err
}

// tip reads the branch.
func (r repository) tip(ctx context.Context) (tip, error) {
	t := tip{files: map[string]string{}}
	out, err := r.git(ctx, "for-each-ref", "--format=%(objectname)", "refs/heads/"+Branch)
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		return t, err
	}
	t.exists = true
	out, err = r.git(ctx, "log", "-1", "--format=%(trailers:key="+revisionTrailer+",valueonly)%n%(trailers:key="+untilTrailer+",valueonly)", "refs/heads/"+Branch)
	if err != nil {
		return t, err
	}
	fields := strings.Fields(string(out))
	if len(fields) != 2 {
		return t, fault.New(fault.Rejected, "write git mirror", "somebody else has committed to %s: write it anew", r.dir)
	}
	var nanoseconds int64
	if t.revision, err = strconv.ParseUint(fields[0], 10, 64); err == nil {
		nanoseconds, err = strconv.ParseInt(fields[1], 10, 64)
	}
	if err != nil {
		return t, failed(fmt.Errorf("read the last commit of %s: %w", r.dir, err))
	}
	t.until = time.Unix(0, nanoseconds)
	out, err = r.git(ctx, "ls-tree", "-r", "-z", "refs/heads/"+Branch)
	for entry := range strings.SplitSeq(string(out), "\x00") {
		if about, path, ok := strings.Cut(entry, "\t"); ok {
			t.files[path] = about[strings.LastIndexByte(about, ' ')+1:]
		}
	}
	return t, err
}

// write imports the commits of an update, in their order.
func (r repository) write(ctx context.Context, u *update) error {
	ctx, cancel := context.WithTimeoutCause(ctx, importTimeout, fmt.Errorf("git fast-import did not end within %s", importTimeout))
	defer cancel()
	cmd := r.command(ctx, "fast-import", "--quiet", "--done", "--date-format=raw")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return complaint(ctx, "fast-import", err, "")
	}
	w := bufio.NewWriterSize(in, 1<<20)
	err = u.stream(ctx, w)
	if err == nil {
		_, err = io.WriteString(w, "done\n")
	}
	if err == nil {
		err = w.Flush()
	}
	_ = in.Close()                                                          // without "done" git keeps nothing
	own := err != nil && !errors.Is(err, syscall.EPIPE) && ctx.Err() == nil // and git complains that its input ends early
	if werr := cmd.Wait(); werr != nil && !own && (err == nil || stderr.Len() > 0) {
		return complaint(ctx, "fast-import", werr, stderr.String())
	}
	return err
}

// stream writes what git fast-import reads: the texts, device by device, which packs them best, and then the commits.
func (u *update) stream(ctx context.Context, w *bufio.Writer) error {
	marks, needed, devices := map[string]int{}, map[string]bool{}, []string{}
	seen := map[string]bool{}
	for _, c := range u.commits {
		if c.blob == "" {
			continue
		}
		needed[c.blob] = true
		if !seen[c.device] {
			seen[c.device] = true
			devices = append(devices, c.device)
		}
	}
	for _, device := range devices {
		err := u.src.History(ctx, device, func(_ archive.Version, text []byte) error {
			id := blobID(text)
			if !needed[id] || marks[id] > 0 {
				return nil
			}
			marks[id] = len(marks) + 1
			_, _ = fmt.Fprintf(w, "blob\nmark :%d\n", marks[id]) // a bufio.Writer keeps its first error
			return data(w, text)
		})
		if err != nil {
			return fmt.Errorf("mirror device %s: %w", device, err)
		}
	}
	for i, c := range u.commits {
		if c.blob != "" && marks[c.blob] == 0 {
			return fault.New(fault.Infrastructure, "write git mirror", "a version of %s went while it was mirrored: try again", c.device)
		}
		message := c.message
		if i == len(u.commits)-1 {
			message += fmt.Sprintf("%s: %d\n%s: %d\n", revisionTrailer, u.stand.Revision, untilTrailer, u.until.UnixNano())
		}
		if err := u.commit(w, i, c, message, marks); err != nil {
			return err
		}
	}
	return nil
}

func (u *update) commit(w *bufio.Writer, i int, c commit, message string, marks map[string]int) error {
	const who = "confhaul <confhaul@localhost>"
	_, _ = fmt.Fprintf(w, "commit refs/heads/%s\nauthor %s %d +0000\ncommitter %s %d +0000\n", Branch, who, c.at.Unix(), who, c.stored.Unix())
	if err := data(w, []byte(message)); err != nil {
		return err
	}
	if i == 0 && u.tip.exists {
		_, _ = fmt.Fprintf(w, "from refs/heads/%s^0\n", Branch)
	}
	var err error
	switch {
	case c.gone:
		_, err = fmt.Fprintf(w, "D %s\n\n", quoted(c.path))
	case c.from != "":
		_, err = fmt.Fprintf(w, "R %s %s\n\n", quoted(c.from), quoted(c.path))
	default:
		_, err = fmt.Fprintf(w, "M 100644 :%d %s\n\n", marks[c.blob], quoted(c.path))
	}
	return err
}

// data writes a text with its length before it.
func data(w *bufio.Writer, text []byte) error {
	_, _ = fmt.Fprintf(w, "data %d\n", len(text))
	_, _ = w.Write(text)
	return w.WriteByte('\n')
}

// quoted is a path as git fast-import takes it, whatever is in it.
func quoted(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}
