// Package mirror writes the history of the fleet as a bare git repository, for people and tools that like git: one file per
// device, one commit per change, in the order of time. It is output only: nothing of confhaul reads it, and it can be thrown
// away and written again from the archive at any time.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/filelock"
)

// Source is what the mirror is written from.
type Source interface {
	Stand(ctx context.Context) (archive.Stand, error)
	Devices(ctx context.Context, q archive.DeviceQuery) ([]archive.Device, error)
	History(ctx context.Context, device string, fn func(archive.Version, []byte) error) error
}

// Mirror is the repository in a directory. Its methods are for one goroutine; other processes that write the same repository
// wait for each other.
type Mirror struct {
	src  Source
	dir  string
	done uint64 // the highest revision of a device that is mirrored; 0: not known yet

	damaged map[string]error // devices whose texts could not be read when they were last looked at
}

// New is the mirror of src in dir, a bare repository, made where it is missing, 0700.
func New(src Source, dir string) *Mirror {
	return &Mirror{damaged: map[string]error{}, src: src, dir: filepath.Clean(dir)}
}

// Report is what was written.
type Report struct {
	Commits int
	Devices int // files in the repository
}

// Branch is the only one there is.
const Branch = "main"

// Update brings the repository up to the archive: every version that was stored since the last time is a commit of its own.
// An update is one transaction: a process that is killed in it leaves the repository as it was. A snapshot that arrived late
// and lies before what is mirrored already is in the archive alone, until the repository is written anew.
//
// A name that two devices of a site share gets the device's id behind it. What left the inventory leaves the tree, not the
// history. A device whose texts are damaged is left out: all others are written, and the error wraps archive.ErrDamaged.
// Where nothing happened since the last call it costs one question to the archive; Report.Devices is 0 then.
func (m *Mirror) Update(ctx context.Context) (Report, error) {
	if m.done > 0 {
		moved, err := m.src.Devices(ctx, archive.DeviceQuery{After: m.done})
		if err != nil {
			return Report{}, err
		}
		if len(moved) == 0 {
			return Report{}, m.damage()
		}
	}
	release, err := lock(ctx, m.dir)
	if err != nil {
		return Report{}, err
	}
	defer release()
	return m.write(ctx, m.dir)
}

func (m *Mirror) write(ctx context.Context, dir string) (Report, error) {
	repo, err := open(ctx, dir)
	if err != nil {
		return Report{}, err
	}
	tip, err := repo.tip(ctx)
	if err != nil {
		return Report{}, err
	}
	stand, err := m.src.Stand(ctx) // before the devices: what is stored from here on is for the next update
	if err != nil {
		return Report{}, err
	}
	devices, err := m.src.Devices(ctx, archive.DeviceQuery{})
	if err != nil {
		return Report{}, err
	}
	done := max(tip.revision, m.done)
	if stand.Revision < done {
		done = 0 // another archive, or an older copy of it, whose revisions say nothing of this repository
	}
	u := &update{src: m.src, tip: tip, stand: stand, wanted: paths(devices), orphans: map[string]string{}, until: tip.until}
	u.findOrphans()
	for _, d := range devices {
		path, stays := u.wanted[d.ID]
		if _, there := tip.files[path]; !stays || there && d.Revision <= done {
			continue
		}
		err := u.plan(ctx, d, path)
		delete(m.damaged, d.ID)
		if errors.Is(err, archive.ErrDamaged) { // its file stays as it is
			m.damaged[d.ID] = err
		} else if err != nil {
			return Report{}, err
		}
	}
	maps.DeleteFunc(m.damaged, func(id string, _ error) bool { return u.wanted[id] == "" }) // gone since
	u.dropOrphans()
	if len(u.commits) > 0 {
		slices.SortStableFunc(u.commits, func(a, b commit) int { return a.at.Compare(b.at) })
		if err := repo.write(ctx, u); err != nil {
			return Report{}, err
		}
		if err := repo.pack(ctx); err != nil {
			return Report{}, err
		}
	}
	m.done = stand.Revision
	return Report{Commits: len(u.commits), Devices: len(u.wanted)}, m.damage()
}

// damage names a device that is left out.
func (m *Mirror) damage() error {
	for _, err := range m.damaged {
		return fmt.Errorf("%d devices are left out, one of them: %w; confhaul archive verify names all", len(m.damaged), err)
	}
	return nil
}

// Rebuild throws the repository away and writes it anew. The old one stands until the new one is whole.
func (m *Mirror) Rebuild(ctx context.Context) (Report, error) {
	release, err := lock(ctx, m.dir)
	if err != nil {
		return Report{}, err
	}
	defer release()
	if _, err := os.Stat(m.dir); err == nil {
		if _, err := open(ctx, m.dir); err != nil { // it is not ours
			return Report{}, err
		}
	}
	fresh, old := m.dir+".new", m.dir+".old"
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(old)); err != nil {
		return Report{}, failed(err)
	}
	m.done, m.damaged = 0, map[string]error{}
	r, err := m.write(ctx, fresh)
	if err != nil && !errors.Is(err, archive.ErrDamaged) {
		return r, err
	}
	damage := err
	if err := os.Rename(m.dir, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return r, failed(err)
	}
	if err := os.Rename(fresh, m.dir); err != nil {
		return r, failed(err)
	}
	if err := os.RemoveAll(old); err != nil {
		return r, failed(err)
	}
	return r, damage
}

// lock keeps other writers away. It lies beside the directory, which Rebuild replaces.
func lock(ctx context.Context, dir string) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(dir), dirMode); err != nil {
		return nil, failed(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, fmt.Errorf("it still wrote the mirror after %s", lockTimeout))
	defer cancel()
	if release, err = filelock.Wait(ctx, dir+".lock", func(string) {}); err != nil {
		return nil, failed(err)
	}
	return release, nil
}

func failed(err error) error {
	return fault.New(fault.Infrastructure, "write git mirror", "%w", err)
}

// update is one Update at work.
type update struct {
	src     Source
	tip     tip
	stand   archive.Stand
	wanted  map[string]string // path by device id
	orphans map[string]string // path by blob, of files that no device has now
	commits []commit
	until   time.Time // when the last of the versions that have their commits was stored
}

// commit is one change of one file.
type commit struct {
	at, stored time.Time
	message    string
	path       string
	from       string // where the file was before, if not at path
	blob       string // "": the text stays, or the file goes
	device     string // whose version the text is, to be read again
	gone       bool
}

// findOrphans lists the files at places where no device is any more.
func (u *update) findOrphans() {
	taken := map[string]bool{}
	for _, path := range u.wanted {
		taken[path] = true
	}
	for path, id := range u.tip.files {
		if !taken[path] {
			u.orphans[id] = path
		}
	}
}

// plan finds what is new of a device.
func (u *update) plan(ctx context.Context, d archive.Device, path string) error {
	var (
		all       []commit
		before    archive.Version
		last      []byte
		mirrored  = -1 // the last version that was stored when the repository was written
		newestOld string
	)
	err := u.src.History(ctx, d.ID, func(v archive.Version, text []byte) error {
		if v.Archived.After(u.stand.Archived) && !v.Archived.After(time.Now()) {
			// Other devices were read before it was stored: with it until would say that theirs of that moment are mirrored.
			return nil
		}
		id := blobID(text)
		if !v.Archived.After(u.tip.until) {
			mirrored, newestOld = len(all), id
		}
		u.until = later(u.until, v.Archived)
		c := commit{at: v.FirstSeen, stored: v.Archived, path: path, blob: id, device: d.ID}
		switch {
		case mirrored == len(all): // it has its commit
			c.message = message(v, "in another form")
		case last == nil:
			c.message = message(v, archive.Begin(v, text).Summary)
		default:
			c.message = message(v, archive.Compare(before, v, last, text).Summary)
		}
		all = append(all, c)
		before, last = v, append(last[:0], text...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("mirror device %s: %w", d.ID, err)
	}
	have, news := u.tip.files[path], all[mirrored+1:]
	if from, moved := u.orphans[newestOld]; have == "" && mirrored >= 0 && moved {
		delete(u.orphans, newestOld)
		c := commit{at: time.Now(), stored: time.Now(), path: path, from: from, message: moveMessage(d, from, path)}
		if len(news) > 0 {
			c.at = news[0].at // not after what is new at the new place
		}
		u.commits, have = append(u.commits, c), newestOld
	}
	if len(all) > 0 && len(news) == 0 && have != all[len(all)-1].blob { // its form changed, or a clock was set back
		news = all[len(all)-1:]
	}
	u.commits = append(u.commits, news...)
	return nil
}

// dropOrphans takes the files out of the tree that are no device's any more.
func (u *update) dropOrphans() {
	taken := map[string]bool{}
	for _, path := range u.wanted {
		taken[path] = true
	}
	for _, c := range u.commits {
		taken[c.from] = true
	}
	for path := range u.tip.files {
		if !taken[path] {
			now := time.Now()
			u.commits = append(u.commits, commit{at: now, stored: now, path: path, gone: true, message: path + ": not in the inventory any more\n\n"})
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
