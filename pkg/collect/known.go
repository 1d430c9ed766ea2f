package collect

import (
	"sync"

	"github.com/confhaul/confhaul/pkg/routeros"
)

// knownMax bounds the devices whose last export is remembered: some 20 MB. Those of others are judged anew each time.
const knownMax = 50_000

// known remembers, by the device's key, how the last export that was proven by its end marker was judged. Most exports are what
// the last one was: these are told by their gist, a fifth of the work.
type known struct {
	mu      sync.Mutex
	exports map[string]judged
}

// judged is an export without its texts.
type judged struct {
	gist    routeros.Gist
	want    routeros.Want
	verdict routeros.Verdict
	digest  string
}

func (k *known) get(key string) judged {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.exports[key]
}

func (k *known) put(key string, j judged) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, there := k.exports[key]; there || len(k.exports) < knownMax {
		k.exports[key] = j
	}
}

// judge keeps the judgement of a proven export.
func (a *attempt) judge(g routeros.Gist, v routeros.Verdict) {
	if v.Proof != routeros.ProofMarker || len(v.Gaps) > 0 { // a gap is judged by what was known of gaps before
		return
	}
	v.Text, v.Normal = nil, nil
	a.known.put(a.order.Device.Key(), judged{g, a.want, v, a.export.Digest})
}

// recall says what is known of the export that came, where it is the device's last one.
func (a *attempt) recall(g routeros.Gist, text []byte) (v routeros.Verdict, ok bool) {
	j := a.known.get(a.order.Device.Key())
	if a.order.LastDigest == "" || a.order.LastNormalization != routeros.NormalizationVersion || j.digest != a.order.LastDigest || j.gist != g || j.want != a.want {
		return v, false
	}
	v, a.export.Digest, a.export.Normalization = j.verdict, j.digest, routeros.NormalizationVersion
	v.Text = text
	return v, true
}
