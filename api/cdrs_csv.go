package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sipxrest/event"
)

const (
	// csvPage is how many records are read at once: nothing is held while they are sent.
	csvPage = 500
	// csvWrite is how long a client may take for those.
	csvWrite = 30 * time.Second
	// maxCSV bounds how many records one may ask for.
	maxCSV = 10_000_000
	// csvDays is the longest range without a limit and without start_after.
	csvDays = 31
)

// number reads a whole number from low to high.
func number(text string, low, high int) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= low && n <= high
}

// exportCDRs answers with all records that fit, as CSV (RFC 4180).
func (a *API) exportCDRs(w http.ResponseWriter, r *request) *Problem {
	f, why := a.cdrFilter(r)
	if why != nil {
		return why
	}
	limit, why := r.number("limit", 0, 1, maxCSV)
	if why != nil {
		return why
	}
	safe, why := r.truth("safe")
	if why != nil {
		return why
	}
	columns, why := r.columns()
	if why != nil {
		return why
	}
	if limit == 0 && f.StartAfter.IsZero() {
		oldest, err := a.bus.OldestCDR(r.Context())
		if err != nil {
			return a.recordsFail(r, err)
		}
		until := a.cfg.Now()
		if !f.StartBefore.IsZero() && f.StartBefore.Before(until) {
			until = f.StartBefore
		}
		if !oldest.IsZero() && until.Sub(oldest) > csvDays*24*time.Hour {
			return wrongParam("start_after", memberMissing, fmt.Sprintf("the records go back to %s: beyond %d days give start_after, or limit",
				oldest.UTC().Format("2006-01-02"), csvDays))
		}
	}
	out := &csvWriter{w: w, control: http.NewResponseController(w), columns: columns, safe: safe}
	if limit == 0 {
		limit = maxCSV
	}
	first, next, err := a.bus.CDRs(r.Context(), f, event.CDRPage{Limit: min(limit, csvPage)})
	if err != nil {
		return a.recordsFail(r, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	h.Set("Content-Disposition", `attachment; filename="cdrs.csv"`)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if err := a.sendCSV(r.Context(), out, &f, first, next, limit); err != nil {
		if r.Context().Err() == nil {
			r.log.Warn("an export of call records was cut off", "error", err)
		}
		panic(http.ErrAbortHandler) // a part must not look like the whole
	}
	return nil
}

// columns are those that "fields" names, all without.
func (r *request) columns() (list []*event.Column, why *Problem) {
	if !r.query.Has("fields") {
		for i := range event.Columns {
			list = append(list, &event.Columns[i])
		}
		return list, nil
	}
	for name := range strings.SplitSeq(r.query.Get("fields"), ",") {
		c := event.FindColumn(strings.TrimSpace(name))
		switch {
		case c == nil:
			return nil, wrongParam("fields", memberInvalid, fmt.Sprintf("%q is no column; there are: %s", clip(name, 64), strings.Join(event.ColumnNames(), ", ")))
		case slices.Contains(list, c):
			return nil, wrongParam("fields", memberTwice, fmt.Sprintf("%s is there twice", c.Name))
		}
		list = append(list, c)
	}
	return list, nil
}

// sendCSV writes the header line and the records, page by page.
func (a *API) sendCSV(ctx context.Context, out *csvWriter, f *event.CDRFilter, page []*event.CDR, next string, limit int) (err error) {
	out.header()
	for {
		for _, record := range page[:min(len(page), limit)] {
			out.record(record)
		}
		if err := out.flush(); err != nil {
			return err
		}
		if limit -= len(page); next == "" || limit <= 0 {
			return nil
		}
		if page, next, err = a.bus.CDRs(ctx, *f, event.CDRPage{Cursor: next, Limit: min(limit, csvPage)}); err != nil {
			return err
		}
	}
}

// csvWriter writes records as lines of CSV.
type csvWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	columns []*event.Column
	safe    bool
	line    []byte
}

// header adds the line of names.
func (c *csvWriter) header() {
	for i, column := range c.columns {
		if i > 0 {
			c.line = append(c.line, ',')
		}
		c.line = append(c.line, column.Name...)
	}
	c.line = append(c.line, "\r\n"...)
}

// record adds the line of a record.
func (c *csvWriter) record(r *event.CDR) {
	for i, column := range c.columns {
		if i > 0 {
			c.line = append(c.line, ',')
		}
		c.line = appendCSV(c.line, column.Text(r), c.safe)
	}
	c.line = append(c.line, "\r\n"...)
}

// flush sends what was added. A client that does not take it in time is given up.
func (c *csvWriter) flush() error {
	_ = c.control.SetWriteDeadline(time.Now().Add(csvWrite)) // a test's recorder has none
	_, err := c.w.Write(c.line)
	c.line = c.line[:0]
	if err != nil {
		return err
	}
	return c.control.Flush()
}

// appendCSV adds a field, in quotes where RFC 4180 §2 wants them. With safe a
// spreadsheet does not take it for a formula.
func appendCSV(line []byte, text string, safe bool) []byte {
	if safe && text != "" && strings.IndexByte("=+-@\t\r", text[0]) >= 0 {
		text = "'" + text
	}
	if !strings.ContainsAny(text, ",\"\r\n") {
		return append(line, text...)
	}
	line = append(line, '"')
	line = append(line, strings.ReplaceAll(text, `"`, `""`)...)
	return append(line, '"')
}
