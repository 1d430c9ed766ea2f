package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

const (
	username     = "backup"
	siteLimit    = 4
	wrongPerName = 4 // devices to a wrong credential: from the fifth on its breaker would pause it, which is no matter of chaos
	stepMin      = 10 * time.Second
	perSecond    = 6 // backups due
	whole        = time.Minute
)

// IntervalOf is the interval of a run with so many devices: about 6 are due per second, and none more often than 10 s.
func IntervalOf(devices int) time.Duration {
	return max(stepMin, time.Duration(devices/perSecond)*time.Second)
}

// LadderOf is the ladder of a run.
func LadderOf(interval time.Duration) backup.Ladder {
	return backup.Ladder{interval / 2, interval, 2 * interval}
}

// siteNames are the sites of the lab.
func siteNames() []string { return []string{"oslo", "riga", "vaduz"} }

// lab is the fleet and what is said of it.
type lab struct {
	fleet    *routersim.Fleet
	devices  []Device
	healthy  []*routersim.Router
	password secret.Text
	wrong    map[string]string // device: its wrong credential
}

// newLab starts the fleet. One router in five is unhealthy; of the healthy ones one in ten takes 2 s for its export and one
// 4 s, so that faults find sessions open.
func newLab(ctx context.Context, devices int, seed uint64, rec *recorder) (*lab, error) {
	l := &lab{password: secret.New("right-password"), wrong: map[string]string{}}
	var err error
	l.fleet, err = routersim.Start(ctx, routersim.Options{Devices: devices, Seed: seed, Sites: siteNames(), Username: username, Password: l.password})
	if err != nil {
		return nil, err
	}
	rng := chance(seed, 1)
	for i, d := range l.fleet.Devices("fleet") {
		r, sort, fault := l.fleet.Router(d.ID), Healthy, routersim.NoFault
		r.SetFlicker(routersim.FlickerNone) // lines that come and go and are no comments would not be told from a foreign text
		delay := 100*time.Millisecond + time.Duration(rng.Int64N(int64(600*time.Millisecond)))
		switch i % 20 {
		case 3:
			sort = Refusing
			l.wrong[d.ID] = fmt.Sprintf("wrong-%d", len(l.wrong)/wrongPerName+1)
		case 7:
			sort, fault = Failing, routersim.SilentAfterAccept
		case 11:
			sort, fault = Failing, routersim.CutMidExport
		case 15:
			sort, fault = Failing, routersim.Interrupted
		case 5, 14:
			delay = 2 * time.Second
		case 8, 18:
			delay = 4 * time.Second
		}
		r.SetDelay(delay)
		if err := r.SetFault(fault); err != nil {
			return nil, fmt.Errorf("%w (and closing: %w)", err, l.fleet.Close())
		}
		rec.prints(d.ID, WithoutComments(r.Export()))
		l.devices = append(l.devices, Device{ID: d.ID, Site: d.Site, Sort: sort})
		if sort == Healthy {
			l.healthy = append(l.healthy, r)
		}
	}
	return l, nil
}

// change gives one healthy router another configuration.
func (l *lab) change(rng *rand.Rand, rec *recorder) {
	r := l.healthy[rng.IntN(len(l.healthy))]
	r.Change()
	rec.prints(r.ID(), WithoutComments(r.Export())) // nothing of it is read before the end
}

// write writes inventory, credentials and settings into dir.
func (l *lab) write(dir, redisURL, natsURL string, interval time.Duration) error {
	var inventory, credentials, steps strings.Builder
	inventory.WriteString("devices:\n")
	for _, d := range l.fleet.Devices("fleet") {
		credential := d.Credential
		if w := l.wrong[d.ID]; w != "" {
			credential = w
		}
		fmt.Fprintf(&inventory, "  - {id: %s, name: %q, address: %s, port: %d, site: %s, credential: %s}\n",
			d.ID, d.Name, d.Address, d.Port, d.Site, credential)
	}
	fmt.Fprintf(&credentials, "version_key: the-key-of-this-lab-is-no-secret\ncredentials:\n  fleet: {username: %s, password: %s}\n", username, l.password.Reveal())
	for i := range len(l.wrong)/wrongPerName + 1 {
		fmt.Fprintf(&credentials, "  wrong-%d: {username: %s, password: wrong-password-%d}\n", i+1, username, i+1)
	}
	for i, step := range LadderOf(interval) {
		if i > 0 {
			steps.WriteString(", ")
		}
		steps.WriteString(step.String())
	}
	settings := fmt.Sprintf(`inventory: inventory.yaml
credentials: credentials.yaml
redis: %s
nats: %s
interval: %s
jitter: {min: 1s, max: %s}
retry: [%s]
redial_delay: 0s
concurrency: 10
site_limit: %d
grace: %s
timeouts: {dial: 3s, handshake: 5s, login: 5s, first_byte: 20s, idle: 5s, whole: %s}
`, redisURL, natsURL, interval, interval, steps.String(), siteLimit, grace, whole)
	for name, text := range map[string]string{"inventory.yaml": inventory.String(), "credentials.yaml": credentials.String(), "confhaul.yaml": settings} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
