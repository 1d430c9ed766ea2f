package backup

import "time"

// Arrival is a message of the streams on its way into the archive.
type Arrival struct {
	Subject      string
	Site, Device string // as the subject names them; "" where it names none
	Seq          uint64 // on its stream
	At           time.Time
	Data         []byte // as it came; of a large snapshot what its object holds, where that can be read

	Snapshot *Snapshot // with its texts
	Raw      []byte    // what RawSnappy of Snapshot holds; nil: it has none
	Event    *Event

	Err error // why it cannot be read, now or later; Snapshot and Event are nil then
}

// Backlog is what stands on the streams, seen from the archive.
type Backlog struct {
	Archiver bool      // there is one: it has a place on the stream, whether it runs or not
	Pending  uint64    // snapshots that it has not taken yet
	Events   uint64    // unchanged events that it has not taken yet
	Oldest   time.Time // when the oldest of the pending snapshots came; zero: none is pending

	Fill      float64 // of the snapshot stream, 0 to 1: it refuses when it is full
	LargeFill float64 // of the object store of large snapshots, 0 to 1
}

// FillHigh is the fill from which a stream counts as nearly full.
const FillHigh = 0.8

// NearlyFull says whether snapshots will soon be refused.
func (b Backlog) NearlyFull() bool { return max(b.Fill, b.LargeFill) >= FillHigh }
