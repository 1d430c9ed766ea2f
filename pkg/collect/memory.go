package collect

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	bufferMin = 32 << 10 // bytes; holds most exports whole
	bufferMax = 4 << 20  // bytes; a larger buffer is not kept for the next session
	keptMax   = 64 << 20 // bytes of all that are kept, beyond the budget
)

// memory counts the export bytes in flight against a budget, by the capacity of the buffers that hold them, and keeps
// buffers for reuse. sync.Pool is no place for them: each garbage collection empties it, and new ones bring on the next.
type memory struct {
	limit int64
	used  atomic.Int64

	mu   sync.Mutex
	kept [][]byte
	idle int // bytes of kept
}

// reserve counts delta bytes, or refuses them. A negative delta is always taken.
func (m *memory) reserve(delta int) error {
	for {
		used := m.used.Load()
		if delta > 0 && used+int64(delta) > m.limit {
			return fault.New(fault.Infrastructure, "export", "this process has %d bytes of exports in flight and may have %d; "+
				"lower its --concurrency, or wait until other exports end", used, m.limit)
		}
		if m.used.CompareAndSwap(used, used+int64(delta)) {
			return nil
		}
	}
}

// take gives an empty, counted buffer of at least size bytes.
func (m *memory) take(size int) ([]byte, error) {
	size = max(size, bufferMin)
	b := m.reuse(size)
	if b != nil {
		size = cap(b)
	}
	// Reserved before it is made, so that the budget bounds what is there and not what was there.
	if err := m.reserve(size); err != nil {
		m.keep(b)
		return nil, err
	}
	if b == nil {
		b = make([]byte, 0, size)
	}
	return b, nil
}

// grow gives a buffer with what b holds, and with room for size bytes in all; b is no longer used.
func (m *memory) grow(b []byte, size int) ([]byte, error) {
	larger, err := m.take(size)
	if err != nil {
		return b, err
	}
	larger = append(larger, b...)
	m.give(b)
	return larger, nil
}

// give takes a buffer back. Nobody may use it any more.
func (m *memory) give(b []byte) {
	m.used.Add(-int64(cap(b)))
	m.keep(b)
}

// reuse gives the buffer of size bytes or more that was kept last, unless it is far too large; nil where there is none.
func (m *memory) reuse(size int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, b := range slices.Backward(m.kept) {
		if cap(b) >= size && cap(b) <= 4*size {
			m.kept = slices.Delete(m.kept, i, i+1)
			m.idle -= cap(b)
			return b
		}
	}
	return nil
}

func (m *memory) keep(b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if cap(b) > 0 && cap(b) <= bufferMax && m.idle+cap(b) <= keptMax {
		m.kept = append(m.kept, b[:0])
		m.idle += cap(b)
	}
}
