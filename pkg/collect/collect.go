// Package collect brings one device's export home: it connects, asks, and hands back only what is proven whole, in its
// normal form and with its digest.
package collect

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

// What Options are when they are left out.
const (
	WholeDefault     = 5 * time.Minute
	MaxExportDefault = sshclient.DefaultMaxBytes
	BudgetDefault    = 512 << 20

	// SettleDefault is longer than RouterOS may wait for a menu that hangs, while the file does not grow. How long that is,
	// MikroTik does not say.
	SettleDefault = 30 * time.Second
)

// Options are a Collector's limits. Zero fields have the defaults.
type Options struct {
	Timeouts  sshclient.Timeouts // of the steps
	Whole     time.Duration      // of one Collect
	MaxExport int                // bytes of one export
	Budget    int64              // bytes of all exports in flight, raw and normal forms together
	Settle    time.Duration      // for which the size of a file that a router writes must stand still
}

// Collector collects from any number of devices at once, within one budget of memory. Those behind a jump host share a
// connection to it.
type Collector struct {
	timeouts  sshclient.Timeouts
	whole     time.Duration
	maxExport int
	settle    time.Duration
	memory    *memory
	known     *known
	jumps     *sshclient.Jumps
	cpus      chan struct{} // one token for each piece of pure computation under way
}

// New makes a Collector. One process needs one.
func New(o Options) *Collector {
	if o.Whole <= 0 {
		o.Whole = WholeDefault
	}
	if o.MaxExport <= 0 {
		o.MaxExport = MaxExportDefault
	}
	if o.Budget <= 0 {
		o.Budget = BudgetDefault
	}
	if o.Settle <= 0 {
		o.Settle = SettleDefault
	}
	return &Collector{
		timeouts:  o.Timeouts,
		whole:     o.Whole,
		maxExport: o.MaxExport,
		settle:    o.Settle,
		memory:    &memory{limit: o.Budget},
		known:     &known{exports: map[string]judged{}},
		jumps:     sshclient.NewJumps(),
		cpus:      make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
}

// Close ends the connections to jump hosts. No Collect may be under way or follow.
func (c *Collector) Close() { c.jumps.Close() }

// Collect fetches, proves and normalizes one export; one with the digest Order.LastDigest may come without its normal form. Release of the result must be called when Raw and Normal are no
// longer needed; it may be called more than once.
//
// Errors carry the kind of a fault, those of Order.Trust their own. Where ctx ended the error wraps its cause, which is
// a fault only where the cause is one. After an error Raw is what the last command printed, as it came; the export has no
// normal form, and the other fields as far as known.
func (c *Collector) Collect(ctx context.Context, order backup.Order) (backup.Export, error) {
	late := fault.New(fault.Timeout, "whole backup", "not finished within %s", c.whole)
	ctx, cancel := context.WithTimeoutCause(ctx, c.whole, late)
	defer cancel()
	a := &attempt{
		Collector: c,
		order:     order,
		trace:     order.Trace,
		want: routeros.Want{
			Major: routeros.Major(order.Version), Hide: order.Credential.Hide, WithoutSecrets: order.WithoutSecrets,
		},
		twice:  order.Device.Proof == device.ProofTwice,
		export: backup.Export{FileLeft: order.FileLeft},
	}
	if a.trace == nil {
		a.trace = func(backup.Step) {}
	}
	kept := false
	defer func() {
		if !kept { // a panic must not keep its bytes counted
			a.free()
		}
	}()
	err := a.run(ctx)
	if err != nil {
		a.export.Raw, a.export.Normal, a.export.Digest = a.raw, nil, ""
	}
	kept = true
	a.export.Release = sync.OnceFunc(a.free)
	return a.export, err
}

// compute runs work on a CPU of its own. Sessions that wait for one hold no more than the output they have read.
func (c *Collector) compute(ctx context.Context, step string, work func() error) error {
	select {
	case c.cpus <- struct{}{}:
		defer func() { <-c.cpus }()
		return work()
	case <-ctx.Done():
		return ended(ctx, step)
	}
}
