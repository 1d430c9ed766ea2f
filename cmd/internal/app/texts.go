package app

import (
	"context"
	"errors"

	"github.com/confhaul/confhaul/pkg/archive"
)

// Texts reads the texts of versions, one after the other, newest first.
type Texts struct {
	r      archive.Reader
	last   archive.Version // whose text is kept
	text   []byte
	Damage error // the first damaged text
}

// NewTexts reads from r.
func NewTexts(r archive.Reader) *Texts { return &Texts{r: r} }

// Compare says what a version changed in the one before, which is kept or not.
func (t *Texts) Compare(ctx context.Context, v archive.Version, before bool) (archive.Comparison, error) {
	_, text, err := t.read(ctx, v.Device, v.Number)
	if err != nil {
		return t.damaged(err)
	}
	if !before {
		return archive.Begin(v, text), nil
	}
	old, oldText, err := t.read(ctx, v.Device, v.Number-1)
	if err != nil {
		return t.damaged(err)
	}
	return archive.Compare(old, v, oldText, text), nil
}

func (t *Texts) read(ctx context.Context, device string, number int) (archive.Version, []byte, error) {
	if t.last.Device == device && t.last.Number == number {
		return t.last, t.text, nil
	}
	v, text, err := t.r.Normal(ctx, device, archive.Which{Number: number})
	if err != nil {
		return v, nil, err
	}
	t.last, t.text = v, text
	return v, text, nil
}

// damaged takes a damaged text for a gap in the listing.
func (t *Texts) damaged(err error) (archive.Comparison, error) {
	if !errors.Is(err, archive.ErrDamaged) {
		return archive.Comparison{}, err
	}
	if t.Damage == nil {
		t.Damage = err
	}
	return archive.Comparison{Summary: "(not readable: confhaul archive verify)"}, nil
}
