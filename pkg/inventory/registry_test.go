package inventory

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

// memory is a registry with the rules of the real one: compare-and-set, idempotent writes, and no move during a session.
type memory struct {
	mu       sync.Mutex
	current  device.Inventory
	revision uint64
	devices  map[string]device.Device
	running  map[string]bool // ids with a session
	reads    int             // of all devices
	writes   int
	before   func(write int) error   // called before each write, unlocked
	after    func(put device.Device) // called after each put, unlocked
}

func newMemory() *memory {
	return &memory{devices: map[string]device.Device{}, running: map[string]bool{}}
}

func (m *memory) Inventory(context.Context) (device.Inventory, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current, m.revision, nil
}

func (m *memory) PutInventory(_ context.Context, inv device.Inventory, revision uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision != m.revision {
		return 0, fmt.Errorf("put inventory: %w", backup.ErrConflict)
	}
	m.current, m.revision = inv, m.revision+1
	return m.revision, nil
}

func (m *memory) Devices(context.Context) ([]device.Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	var all []device.Device
	for _, key := range slices.Sorted(maps.Keys(m.devices)) {
		all = append(all, m.devices[key])
	}
	return all, nil
}

func (m *memory) write(change func()) error {
	m.mu.Lock()
	m.writes++
	n, before := m.writes, m.before
	m.mu.Unlock()
	if before != nil {
		if err := before(n); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	return nil
}

func (m *memory) PutDevice(_ context.Context, d device.Device) error {
	err := m.write(func() { m.devices[d.Key()] = d })
	m.mu.Lock()
	after := m.after
	m.mu.Unlock()
	if after != nil {
		after(d)
	}
	return err
}

func (m *memory) DeleteDevice(_ context.Context, key string) error {
	return m.write(func() { delete(m.devices, key) })
}

func (m *memory) MoveDevice(_ context.Context, oldKey string, d device.Device) error {
	m.mu.Lock()
	running := m.running[d.ID]
	m.mu.Unlock()
	if running {
		return fmt.Errorf("move device: %w", backup.ErrConflict)
	}
	return m.write(func() { m.devices[d.Key()] = d; delete(m.devices, oldKey) })
}

// ids lists site/id@address of every registered device.
func (m *memory) ids() string {
	devices, _ := m.Devices(context.Background())
	var all []string
	for _, d := range devices {
		all = append(all, d.Site+"/"+d.ID+"@"+d.Address)
	}
	return strings.Join(all, " ")
}

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// replica is one scheduler's applier with a file and a clock of its own.
type replica struct {
	*Applier
	t     *testing.T
	path  string
	clock time.Time
	check error
}

func newReplica(t *testing.T, reg Registry) *replica {
	r := &replica{t: t, path: filepath.Join(t.TempDir(), "inventory.csv"), clock: start}
	r.restart(reg)
	return r
}

func (r *replica) restart(reg Registry) {
	r.Applier = NewApplier(r.path, reg, func(*File) error { return r.check }, func() time.Time { return r.clock })
}

// file writes the replica's inventory, one "id address site" per device, as modified at the given time.
func (r *replica) file(modified time.Time, devices ...string) {
	r.t.Helper()
	text := "id,address,site,credential\n"
	for _, d := range devices {
		text += strings.ReplaceAll(d, " ", ",") + ",c\n"
	}
	r.content(modified, text)
}

func (r *replica) content(modified time.Time, text string) {
	r.t.Helper()
	write(r.t, r.path, text)
	if err := os.Chtimes(r.path, modified, modified); err != nil {
		r.t.Fatal(err)
	}
}

// refresh expects the report, and an error that contains wantErr (none where it is empty).
func (r *replica) refresh(step string, want Report, wantErr string) {
	r.t.Helper()
	r.expect(step, false, want, wantErr)
}

func (r *replica) expect(step string, accept bool, want Report, wantErr string) {
	r.t.Helper()
	got, err := r.Refresh(r.t.Context(), accept)
	if got != want {
		r.t.Errorf("%s: report %+v, want %+v", step, got, want)
	}
	if (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
		r.t.Errorf("%s: error %v, want %q", step, err, wantErr)
	}
}
