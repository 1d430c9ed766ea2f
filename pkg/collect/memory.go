package collect

import (
	"sync"
	"sync/atomic"

	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	bufferMin = 32 << 10 // bytes; holds most exports whole
	bufferMax = 1 << 20  // bytes; a larger buffer is not kept for the next session
)

// memory counts the export bytes in flight against a budget, by the capacity of the buffers that hold them, and keeps
// buffers for reuse. Kept ones do not count: the garbage collector takes them when memory runs short.
type memory struct {
	limit int64
	used  atomic.Int64
	pool  sync.Pool // of *[]byte
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
	p, ok := m.pool.Get().(*[]byte)
	if !ok || cap(*p) < size {
		if ok {
			m.pool.Put(p)
		}
		// Reserved first, so that the budget bounds what is there and not what was there.
		size = max(size, bufferMin)
		if err := m.reserve(size); err != nil {
			return nil, err
		}
		return make([]byte, 0, size), nil
	}
	if err := m.reserve(cap(*p)); err != nil {
		m.pool.Put(p)
		return nil, err
	}
	return (*p)[:0], nil
}

// give takes a buffer back. Nobody may use it any more.
func (m *memory) give(b []byte) {
	if cap(b) == 0 {
		return
	}
	m.used.Add(-int64(cap(b)))
	if cap(b) <= bufferMax {
		b = b[:0]
		m.pool.Put(&b)
	}
}
