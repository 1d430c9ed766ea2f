package bench

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// profileMax bounds a profile that is unpacked, in bytes.
const profileMax = 64 << 20

// Stack is where a process was seen, with the innermost function first, and how much CPU time stands for it, in nanoseconds.
type Stack struct {
	Functions []string
	Value     int64
}

// ReadProfile reads what runtime/pprof writes of the CPU: a gzipped protocol buffer, of which only names and the last value of
// each sample are looked at.
func ReadProfile(r io.Reader) ([]Stack, error) {
	unzip, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(unzip, profileMax))
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	p := profile{locations: map[uint64][]uint64{}, functions: map[uint64]uint64{}}
	if err := p.read(data); err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	return p.stacks()
}

// profile is the message Profile of pprof's profile.proto; the numbers below are its field numbers.
type profile struct {
	samples   [][]byte
	locations map[uint64][]uint64 // functions by location, the inlined ones first
	functions map[uint64]uint64   // number of the name by function
	names     []string
}

func (p *profile) read(data []byte) error {
	return fields(data, func(number protowire.Number, _ uint64, b []byte) error {
		switch number {
		case 2:
			p.samples = append(p.samples, b)
		case 4:
			return p.readLocation(b)
		case 5:
			var id, name uint64
			err := fields(b, func(number protowire.Number, v uint64, _ []byte) error {
				switch number {
				case 1:
					id = v
				case 2:
					name = v
				}
				return nil
			})
			p.functions[id] = name
			return err
		case 6:
			p.names = append(p.names, string(b))
		}
		return nil
	})
}

func (p *profile) readLocation(data []byte) error {
	var id uint64
	var functions []uint64
	err := fields(data, func(number protowire.Number, v uint64, b []byte) error {
		switch number {
		case 1:
			id = v
		case 4: // a line
			return fields(b, func(number protowire.Number, v uint64, _ []byte) error {
				if number == 1 {
					functions = append(functions, v)
				}
				return nil
			})
		}
		return nil
	})
	p.locations[id] = functions
	return err
}

func (p *profile) stacks() ([]Stack, error) {
	out := make([]Stack, 0, len(p.samples))
	for _, data := range p.samples {
		var s Stack
		err := fields(data, func(number protowire.Number, v uint64, b []byte) error {
			return numbers(v, b, func(n uint64) {
				switch number {
				case 1:
					for _, f := range p.locations[n] {
						if i := p.functions[f]; i < uint64(len(p.names)) {
							s.Functions = append(s.Functions, p.names[i])
						}
					}
				case 2:
					s.Value = int64(n) // the last one is nanoseconds, the one before a count
				}
			})
		})
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// fields goes through the fields of a message: v is a number's value, b the bytes of anything longer.
func fields(data []byte, each func(number protowire.Number, v uint64, b []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var v uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if err := each(number, v, b); err != nil {
			return err
		}
	}
	return nil
}

// numbers goes through a field of numbers, which is packed or one alone.
func numbers(v uint64, packed []byte, each func(n uint64)) error {
	if packed == nil {
		each(v)
		return nil
	}
	for len(packed) > 0 {
		n, size := protowire.ConsumeVarint(packed)
		if size < 0 {
			return errors.New("a packed field is cut")
		}
		each(n)
		packed = packed[size:]
	}
	return nil
}
