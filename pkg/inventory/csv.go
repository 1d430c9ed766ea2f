package inventory

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
)

func parseCSV(b []byte, p *problems) []entry {
	r := csv.NewReader(bytes.NewReader(b))
	r.ReuseRecord = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		p.add(0, "", "the file is empty")
		return nil
	}
	if err != nil {
		p.csvError(err)
		return nil
	}
	order := parseHeader(header, p)
	if len(p.list) > 0 {
		return nil
	}
	var entries []entry
	for {
		record, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return entries
		case errors.Is(err, csv.ErrFieldCount):
			line, _ := r.FieldPos(0)
			p.add(line, "", "%d cells, but the header row has %d", len(record), len(order))
			continue
		case err != nil:
			p.csvError(err) // after an open quote nothing can be believed
			return entries
		}
		var e entry
		e.line, _ = r.FieldPos(0)
		for i, text := range record {
			line, _ := r.FieldPos(i)
			e.cells[order[i]] = cell{text: strings.Clone(strings.TrimSpace(text)), line: line}
		}
		entries = append(entries, e)
	}
}

// parseHeader says which column stands in which place.
func parseHeader(header []string, p *problems) []column {
	if len(header) == 1 && strings.Contains(header[0], ";") {
		p.add(1, "", "separate the columns with commas, not semicolons")
		return nil
	}
	var order []column
	for _, text := range header {
		text = strings.TrimSpace(text)
		c := column(slices.Index(columnNames[:], text))
		switch {
		case c < 0:
			p.add(1, text, "unknown column: use %s", strings.Join(columnNames[:], ", "))
		case slices.Contains(order, c):
			p.add(1, text, "the column stands twice")
		}
		order = append(order, c)
	}
	for _, c := range []column{colID, colAddress} {
		if !slices.Contains(order, c) {
			p.add(1, columnNames[c], "the column is missing")
		}
	}
	return order
}

func (p *problems) csvError(err error) {
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		p.add(e.Line, "", "not CSV: column %d: %w", e.Column, e.Err)
		return
	}
	p.add(0, "", "not CSV: %w", err)
}
