package collect

import (
	"testing"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// TestKnownExport: the device's last export is known again and has all but its normal form; any other is judged anew.
func TestKnownExport(t *testing.T) {
	t.Parallel()
	_, r := lone(t, v7, 20_000, routersim.NoFault)
	c := New(Options{})
	collect := func(change func(*backup.Order)) backup.Export {
		t.Helper()
		o := orderFor(r)
		change(&o)
		e, err := c.Collect(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		e.Release()
		return e
	}
	first := collect(func(*backup.Order) {})
	after := func(e backup.Export) func(*backup.Order) {
		return func(o *backup.Order) {
			o.LastDigest, o.LastNormalization, o.LastBytes, o.Secrets = e.Digest, e.Normalization, len(e.Raw), e.Secrets
		}
	}
	again := collect(after(first))
	if again.Normal != nil || again.Digest != first.Digest || again.Normalization != first.Normalization || again.Version != first.Version ||
		again.Identity != first.Identity || again.Secrets != first.Secrets || again.Proof != routeros.ProofMarker || again.Started.Equal(first.Started) {
		t.Errorf("the same export: %d bytes of normal form, digest %s", len(again.Normal), again.Digest)
	}
	for name, change := range map[string]func(*backup.Order){
		"another digest":        func(o *backup.Order) { o.LastDigest = "00" },
		"another normalization": func(o *backup.Order) { o.LastNormalization++ },
		"nothing known":         func(o *backup.Order) { o.LastDigest = "" },
		"asked otherwise":       func(o *backup.Order) { o.WithoutSecrets = true },
		"another device":        func(o *backup.Order) { o.Device.ID = "other" },
	} {
		e := collect(func(o *backup.Order) { after(first)(o); change(o) })
		if e.Normal == nil || e.Digest != first.Digest {
			t.Errorf("%s: %d bytes of normal form, digest %s", name, len(e.Normal), e.Digest)
		}
	}
	r.Change()
	changed := collect(after(first))
	if changed.Normal == nil || changed.Digest == first.Digest {
		t.Errorf("a changed export: %d bytes of normal form, digest %s", len(changed.Normal), changed.Digest)
	}
	if e := collect(after(changed)); e.Normal != nil || e.Digest != changed.Digest {
		t.Errorf("the changed export again: %d bytes of normal form, digest %s", len(e.Normal), e.Digest)
	}
	if err := r.SetFault(routersim.CutMidExport); err != nil {
		t.Fatal(err)
	}
	o := orderFor(r)
	after(changed)(&o)
	_, err := c.Collect(t.Context(), o)
	wantFault(t, err, fault.Incomplete)
}
