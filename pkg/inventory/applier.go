package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Registry is what the applier needs of the state store. It is called from several goroutines at once.
type Registry interface {
	// Inventory returns the current inventory and its revision, which is 0 where there is none.
	Inventory(ctx context.Context) (device.Inventory, uint64, error)
	// PutInventory writes it where the revision is still that one, and else returns backup.ErrConflict.
	PutInventory(ctx context.Context, inv device.Inventory, revision uint64) (uint64, error)
	Devices(ctx context.Context) ([]device.Device, error)
	PutDevice(ctx context.Context, d device.Device) error
	DeleteDevice(ctx context.Context, key string) error
	// MoveDevice takes state and host key along; backup.ErrConflict while a session runs.
	MoveDevice(ctx context.Context, oldKey string, d device.Device) error
}

// takeoverDelay is how long after its start an application that is not done counts as abandoned.
const takeoverDelay = 30 * time.Second

// Report is how one Refresh ended.
type Report struct {
	Applied    bool   // the current inventory is wholly in the registry
	Generation uint64 // of the current inventory; 0: there is none
	InForce    bool   // the file as it stands on disk is the current inventory, and not one that is bad, refused or different

	Added, Changed, Removed, Moved int // written by this Refresh
	Pending                        int // moves that wait for a session to end; the next Refresh tries again
}

// Applier keeps the registry at what the inventory file says, by rules under which any number of replicas can do so, each
// with its own copy of the file: a replica applies its file only when the file changed under it, at its start only when there
// is no current inventory or an older one, and never because the registry differs.
type Applier struct {
	path  string
	reg   Registry
	check func(*File) error
	now   func() time.Time

	mu        sync.Mutex
	looked    bool
	seen      fs.FileInfo // the file as last looked at; nil: there was none
	candidate *File       // read, not decided on
	fresh     bool        // the candidate changed under us; else it is the one of our start
	file      *File       // the last content decided on
	off       bool        // what is on disk now is bad or refused, and so not what file is
	ours      uint64      // the generation that this process began
	differs   string      // the difference that was last told
	told      string      // the problem of the file that was last told
}

// NewApplier makes an applier of the file at path. check may refuse a file that was read (nil: none does); it is asked again
// at each Refresh until it accepts.
func NewApplier(path string, reg Registry, check func(*File) error, now func() time.Time) *Applier {
	if check == nil {
		check = func(*File) error { return nil }
	}
	return &Applier{path: path, reg: reg, check: check, now: now}
}

// Refresh looks at the file and does what the rules say. Where nothing changed it costs one stat and one read of the current
// inventory. A file that is bad, removes too many devices or differs from a newer current one is an error once, and the
// registry stays as it is. accept is the word of an operator: the file is applied even so, unless it is bad, and errors are
// told again.
func (a *Applier) Refresh(ctx context.Context, accept bool) (Report, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if accept {
		a.looked, a.seen, a.told, a.differs = false, nil, "", ""
	}
	current, revision, err := a.reg.Inventory(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("refresh inventory: %w", err)
	}
	fileErr := a.look(accept)
	if a.candidate == nil && a.file != nil && revision == 0 && !a.off {
		a.candidate = a.file // the registry was lost
	}
	if a.candidate != nil {
		if current, revision, err = a.decide(ctx, current, revision, accept); err != nil {
			fileErr = errors.Join(fileErr, err)
		}
	}
	report, err := a.settle(ctx, current, revision)
	report.InForce = !a.off && a.candidate == nil && a.file != nil && revision != 0 && a.file.Digest == current.Digest
	return report, errors.Join(fileErr, err)
}

// look makes a candidate of the file where its content is new.
func (a *Applier) look(accept bool) error {
	info, _ := os.Stat(a.path) // nil, err: read tells the reason
	if a.looked && secret.SameFile(info, a.seen) {
		return nil
	}
	raw, err := read(a.path, "read inventory", FileMax)
	if errors.Is(err, errChanging) && !accept {
		return nil // look again at the next Refresh
	}
	fresh := a.looked || accept
	a.looked, a.seen = true, info
	if err != nil {
		a.off = true
		return a.tell(err.Error(), err)
	}
	switch {
	case a.candidate != nil && raw.digest == a.candidate.Digest:
		return nil
	case a.file != nil && raw.digest == a.file.Digest && !accept:
		a.candidate, a.off, a.told = nil, false, ""
		return nil
	}
	f, err := raw.parse()
	if err != nil {
		a.candidate, a.off = nil, true
		return a.tell(raw.digest, err)
	}
	a.candidate, a.fresh, a.off = f, fresh, false
	return nil
}

// tell returns err the first time.
func (a *Applier) tell(occurrence string, err error) error {
	if a.told == occurrence {
		return nil
	}
	a.told = occurrence
	return err
}

// decide takes the candidate or drops it, and returns the inventory that is current then.
func (a *Applier) decide(ctx context.Context, current device.Inventory, revision uint64, accept bool) (device.Inventory, uint64, error) {
	f := a.candidate
	if err := a.check(f); err != nil {
		a.off = true
		return current, revision, a.tell(f.Digest+err.Error(), err)
	}
	a.off = false
	mine := revision == 0 || a.fresh || f.ModTime.After(current.LoadedAt)
	if revision != 0 && current.Digest == f.Digest || !mine {
		a.take(f)
		return current, revision, nil
	}
	devices, err := a.reg.Devices(ctx)
	if err != nil {
		return current, revision, fmt.Errorf("refresh inventory: %w", err)
	}
	if diff := Compare(devices, f.Devices); !accept && diff.TooManyRemovals(len(devices)) {
		a.candidate, a.off = nil, true
		err := fmt.Errorf("%s would remove %d of %d devices: the old inventory stays; use --accept-removals if that is meant",
			a.path, len(diff.Removed), len(devices))
		return current, revision, a.tell(f.Digest, err)
	}
	next := device.Inventory{Digest: f.Digest, Generation: current.Generation + 1, LoadedAt: a.now()}
	written, err := a.reg.PutInventory(ctx, next, revision)
	if errors.Is(err, backup.ErrConflict) {
		return a.reg.Inventory(ctx) // another replica was faster: decide anew at the next Refresh
	}
	if err != nil {
		return current, revision, fmt.Errorf("refresh inventory: %w", err)
	}
	a.take(f)
	a.ours = next.Generation
	return next, written, nil
}

func (a *Applier) take(f *File) { a.file, a.candidate, a.told = f, nil, "" }

// settle compares the last content decided on with the current inventory, and finishes what is begun and not done.
func (a *Applier) settle(ctx context.Context, current device.Inventory, revision uint64) (Report, error) {
	report := Report{Applied: current.Applied, Generation: current.Generation}
	if revision == 0 || a.file == nil {
		return report, nil
	}
	if current.Digest != a.file.Digest {
		if a.off || a.candidate != nil {
			return report, nil
		}
		return report, a.different(current)
	}
	a.differs = ""
	if current.Applied || current.Generation != a.ours && a.now().Sub(current.LoadedAt) < takeoverDelay {
		return report, nil
	}
	return a.finish(ctx, current, revision)
}

// different is the error of a file that is not the current one, once for each pair.
func (a *Applier) different(current device.Inventory) error {
	occurrence := fmt.Sprint(a.file.Digest, current.Digest, current.Generation)
	if a.differs == occurrence {
		return nil
	}
	a.differs = occurrence
	return fmt.Errorf("%s (sha256 %s) is not the current inventory (sha256 %s, generation %d, loaded %s): "+
		"give all schedulers the same file, or change this one to make it current",
		a.path, a.file.Digest, current.Digest, current.Generation, current.LoadedAt.UTC().Format(time.RFC3339))
}
