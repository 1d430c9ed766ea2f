package stream

import (
	"bytes"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/delta"
)

// FuzzDecode takes any bytes for an event. What decodes says the same after it was encoded again, and the texts in it open
// within their bound or not at all.
func FuzzDecode(f *testing.F) {
	for _, seed := range decodeSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		snap, err := backup.DecodeSnapshot(data)
		if err == nil {
			first := encode(t, snap)
			if snap, err = backup.DecodeSnapshot(first); err != nil || !bytes.Equal(first, encode(t, snap)) {
				t.Errorf("snapshot %s is not what it was encoded from: %v", first, err)
			}
			if raw, _ := OpenRaw(snap); len(raw) > RawMax {
				t.Errorf("a raw text of %d bytes opened", len(raw))
			}
			if text, _ := delta.Unpack(nil, snap.RawSnappy, nil, RawMax); len(text) > RawMax {
				t.Errorf("a suspect's text of %d bytes opened", len(text))
			}
		}
		event, err := backup.DecodeEvent(data)
		if err == nil {
			first := encode(t, event)
			if event, err = backup.DecodeEvent(first); err != nil || !bytes.Equal(first, encode(t, event)) {
				t.Errorf("event %s is not what it was encoded from: %v", first, err)
			}
		}
	})
}

func encode(t testing.TB, e any) []byte {
	t.Helper()
	b, err := backup.EncodeEvent(e)
	if err != nil {
		t.Fatalf("what was decoded does not encode: %v", err)
	}
	return b
}

func decodeSeeds(f *testing.F) [][]byte {
	f.Helper()
	raw, normal := export(300)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	whole := backup.Snapshot{
		V: 1, DeviceID: "r:1", Site: "berlin", TenantID: "default", CollectedAt: at, ConfigText: normal, Normalization: 1,
		KnownGaps: []string{"/ip dns"}, Complete: true, Proof: "twice", Trigger: backup.ReasonSlot, RawSnappy: s2.EncodeSnappy(nil, raw),
	}
	otherText, cut := whole, whole
	otherText.ConfigText = "/ip"
	cut.RawSnappy = cut.RawSnappy[:len(cut.RawSnappy)/2]
	wide := whole // a frame that asks for the widest window and holds nothing
	wide.RawSnappy = []byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xFF, 0x03, 0x00, 0x00}
	return [][]byte{
		encode(f, whole), encode(f, otherText), encode(f, cut), encode(f, wide),
		encode(f, backup.Snapshot{Object: "aa", CollectedAt: at}),
		encode(f, backup.Event{V: 1, Type: backup.EventFailed, DeviceID: "r1", At: at, NextAt: at, Reason: "<cut>\u2028"}),
		[]byte(`{"v":99,"raw_snappy":"KLUv/Q==","known_gaps":[null],"new":{"a":[1e400]}}`),
		[]byte(`{"collected_at":"0000-01-01T00:00:00+23:59","at":null,"config_text":"\ud800\u0000"}`), []byte("null"), []byte("[]"), nil,
	}
}

// TestOpeningIsBounded says what a hostile message can cost.
func TestOpeningIsBounded(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string][]byte{
		"widest window": {0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xFF, 0x03, 0x00, 0x00},
		"declares 4 GB": {0x28, 0xB5, 0x2F, 0xFD, 0xA0, 0xFF, 0xFF, 0xFF, 0xFF, 0x03, 0x00, 0x00},
	} {
		if text, err := delta.Unpack(nil, frame, nil, RawMax); err == nil {
			t.Errorf("%s: opened as %d bytes", name, len(text))
		}
	}
	enc, err := zstd.NewWriter(nil, zstd.WithWindowSize(zstd.MaxWindowSize/8), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	many := enc.EncodeAll(make([]byte, RawMax/2), nil)
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := delta.Unpack(nil, bytes.Repeat(many, 3), nil, RawMax); err == nil { // frames in a row count together
		t.Errorf("three frames opened as %d bytes", len(text))
	}
}
