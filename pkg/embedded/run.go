package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
)

const runName = "run.json"

// ErrNotRunning is what ReadRun wraps where no process runs on the directory.
var ErrNotRunning = errors.New("no confhaul runs on this data directory")

// Run is how a command in another terminal finds the process that runs on a data directory.
type Run struct {
	PID       int
	Redis     secret.URL // with the token
	NATS      secret.URL // with the token
	Dashboard string     // address of the web page; "": none
	Listen    string     // address of health and metrics; "": none
	Started   time.Time
}

// runFile is a Run as it is stored, the tokens in clear.
type runFile struct {
	PID       int       `json:"pid"`
	Redis     string    `json:"redis"`
	NATS      string    `json:"nats"`
	Dashboard string    `json:"dashboard,omitempty"`
	Listen    string    `json:"listen,omitempty"`
	Started   time.Time `json:"started"`
}

// WriteRun stores r in dir at one stroke, readable by this user alone. The holder of the Lock calls it.
func WriteRun(dir string, r Run) error {
	b, err := json.MarshalIndent(runFile{
		PID: r.PID, Redis: r.Redis.Reveal(), NATS: r.NATS.Reveal(), Dashboard: r.Dashboard, Listen: r.Listen, Started: r.Started,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("write run file: %w", err)
	}
	f, err := os.CreateTemp(dir, runName+".*") // which gives it mode 0600
	if err != nil {
		return fmt.Errorf("write run file: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, runName))
	}
	if err != nil {
		return fmt.Errorf("write run file: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// ReadRun reads what WriteRun stored. The error wraps ErrNotRunning where there is no run file, or where the process that
// wrote it has ended.
func ReadRun(dir string) (Run, error) {
	path := filepath.Join(dir, runName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Run{}, fmt.Errorf("read %s: %w", path, ErrNotRunning)
	}
	if err != nil {
		return Run{}, fmt.Errorf("read run file: %w", err)
	}
	var f runFile
	if err := json.Unmarshal(b, &f); err != nil {
		return Run{}, fmt.Errorf("read %s: %w", path, err)
	}
	if !alive(f.PID) {
		return Run{}, fmt.Errorf("read %s: it is stale, process %d has ended: %w", path, f.PID, ErrNotRunning)
	}
	return Run{
		PID: f.PID, Redis: secret.NewURL(f.Redis), NATS: secret.NewURL(f.NATS), Dashboard: f.Dashboard, Listen: f.Listen, Started: f.Started,
	}, nil
}

// RemoveRun removes the run file; a missing one is no error.
func RemoveRun(dir string) error {
	if err := os.Remove(filepath.Join(dir, runName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove run file: %w", err)
	}
	return nil
}
